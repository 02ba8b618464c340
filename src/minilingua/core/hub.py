"""What the Hugging Face hub has: repositories, their commits, and files with checksums.

    list_repository ─► commit, RemoteFile (path, size, checksum) ─► hub_download.download

Nothing is executed and nothing is trusted: names are checked before they become paths.

huggingface_hub does the talking, so HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_DOWNLOAD_TIMEOUT mean
what they always mean. It is imported where it is used: most runs never need it.
"""

import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from minilingua.core.errors import DownloadError


@dataclass(frozen=True, slots=True, kw_only=True)
class HubRepository:
    """One repository of the hub."""

    kind: Literal["dataset", "model"]
    id: str
    """``owner/name``."""

    @property
    def page(self) -> str:
        """Its address, for people."""
        folder = "datasets/" if self.kind == "dataset" else ""
        return f"https://huggingface.co/{folder}{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """A file in a repository, as the hub lists it."""

    path: str
    """POSIX path in the repository; relative and without ``..``."""
    bytes: int
    digest: str
    """``sha256:<hex>`` of the content, or ``git-sha1:<hex>`` (git's blob id) of a small file."""


def list_repository(repository: HubRepository, ref: str) -> tuple[str, list[RemoteFile]]:
    """Returns the commit that a branch, tag or commit stands for, and its files sorted by path.

    Raises:
        DownloadError: the hub cannot be reached, refuses, or has no such repository or ref.
    """
    from huggingface_hub import HfApi, constants

    from minilingua.core.hub_errors import patiently

    api = HfApi(endpoint=endpoint(), library_name="minilingua")

    def ask() -> tuple[str, list[RemoteFile]]:
        ask_of = api.dataset_info if repository.kind == "dataset" else api.model_info
        info = ask_of(
            repository.id,
            revision=ref,
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            files_metadata=True,
        )
        files = [_remote_file(sibling) for sibling in info.siblings or ()]
        return str(info.sha), sorted(files, key=lambda file: file.path)

    try:
        return patiently(ask, repository, f"{repository.id} at {ref}")
    except (ValueError, KeyError, TypeError) as error:
        raise DownloadError(
            f"{repository.id}: what {endpoint()} answers is not what the hub does ({error!r}); "
            "HF_ENDPOINT or a proxy may be to blame"
        ) from error


def check_path(path: str) -> str:
    """Returns a name that comes from outside if it stays below the directory it is put into.

    Raises:
        ValueError: it is absolute, empty, or climbs.
    """
    parts = PurePosixPath(path).parts
    if PurePosixPath(path).is_absolute() or ".." in parts or "\\" in path or not parts:
        raise ValueError(f"{path!r} is no path below a directory")
    return path


def _remote_file(sibling: Any) -> RemoteFile:
    path = check_path(str(sibling.rfilename))
    if sibling.lfs is not None:
        digest = f"sha256:{sibling.lfs.sha256}"
        return RemoteFile(path=path, bytes=sibling.lfs.size, digest=digest)
    return RemoteFile(path=path, bytes=sibling.size, digest=f"git-sha1:{sibling.blob_id}")


def endpoint() -> str:
    """Returns the hub's address; HF_ENDPOINT as it is now, not as it was at the first import."""
    from huggingface_hub import constants

    return os.environ.get("HF_ENDPOINT", constants.ENDPOINT).rstrip("/")
