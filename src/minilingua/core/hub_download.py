"""Downloads of files of the hub, checked and resumable.

Contents are checked against the checksum that the hub's own listing gives (SHA-256 of large files,
git's SHA-1 of small ones). What a broken transfer leaves is a ``.part`` file that the next one
continues.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minilingua.core.errors import DownloadError, RunBusyError
from minilingua.core.hub import HubRepository, RemoteFile, endpoint

_CHUNK = 1 << 20


def download(
    repository: HubRepository,
    commit: str,
    files: Sequence[tuple[RemoteFile, Path]],
    progress: "tqdm[Any]",
) -> None:
    """Makes each path hold its file; what is there already and right is left alone.

    Args:
        repository: where the files are.
        commit: 40 hexadecimal digits.
        files: pairs of file and destination.
        progress: advanced by every byte that is there or arrives.

    Raises:
        DownloadError: a file cannot be had, is not what its checksum says, or the disk is full.
    """
    missing = []
    for file, path in files:
        if is_complete(path, file):
            progress.update(file.bytes)
        else:
            missing.append((file, path))
    _check_space(missing)
    for file, path in missing:
        path.parent.mkdir(parents=True, exist_ok=True)
        _download_one(repository, commit, file, path, progress)


def is_complete(path: Path, file: RemoteFile) -> bool:
    """Returns whether a path holds a file, by size and checksum."""
    return (
        path.is_file()
        and path.stat().st_size == file.bytes
        and digest_of(path, like=file.digest) == file.digest
    )


def digest_of(path: Path, *, like: str) -> str:
    """Returns the checksum of a file's bytes, of the same kind as another one."""
    kind = like.partition(":")[0]
    if kind == "sha256":
        digest = hashlib.sha256()
    else:  # git's id of the content: that is what the hub has of small files
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return f"{kind}:{digest.hexdigest()}"


def cache_directory(namespace: str, name: str) -> Path:
    """Returns a directory below HF_HOME for downloads that outlive a failed stage; it is made."""
    from huggingface_hub import cached_assets_path, constants

    return cached_assets_path("minilingua", namespace, name, assets_dir=constants.HF_ASSETS_CACHE)


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Holds a lock on a directory while it is filled; the directory is made.

    Raises:
        RunBusyError: another process holds it.
    """
    from filelock import FileLock, Timeout

    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise RunBusyError(f"{directory}: another process is filling it") from error
    try:
        yield
    finally:
        lock.release()


def _download_one(
    repository: HubRepository, commit: str, file: RemoteFile, path: Path, progress: "tqdm[Any]"
) -> None:
    from minilingua.core.hub_errors import patiently

    part = _part(path, file)
    what = f"{repository.id}: {file.path}"

    before = progress.n

    def transfer() -> None:
        _transfer(repository, commit, file, part, progress, before)

    for is_last in (False, True):
        patiently(transfer, repository, what, is_resuming=True)
        found = digest_of(part, like=file.digest)
        if found == file.digest:
            part.replace(path)
            return
        # Bytes of an earlier try may be to blame: once more from the start, then it is an error.
        part.unlink()
        if is_last:
            raise DownloadError(
                f"{what}: its checksum is {found} instead of {file.digest}; it was damaged on its "
                "way, or is not the file that was pinned"
            )


def _part(path: Path, file: RemoteFile) -> Path:
    """Returns where a file grows; named by its checksum, so that no other version is continued."""
    return path.with_name(f".{path.name}.{file.digest.partition(':')[2][:12]}.part")


def _transfer(
    repository: HubRepository,
    commit: str,
    file: RemoteFile,
    part: Path,
    progress: "tqdm[Any]",
    before: int,
) -> None:
    """Appends what is missing to a partial file; ``before`` is the progress without it."""
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url = hf_hub_url(
        repository.id,
        file.path,
        repo_type=repository.kind,
        revision=commit,
        endpoint=endpoint(),
    )
    headers = build_hf_headers(library_name="minilingua")
    headers["Accept-Encoding"] = "identity"  # a range of compressed bytes would be of no use
    have = part.stat().st_size if part.exists() else 0
    if have > file.bytes:
        part.unlink()
        have = 0
    progress.update(before + have - progress.n)
    try:
        with part.open("ab") as stream:
            http_get(
                url,
                stream,
                resume_size=have,
                headers=headers,
                expected_size=file.bytes,
                displayed_filename=file.path,
                tqdm_class=_shared(progress),
            )
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # http_get's check of the size
            came = part.stat().st_size
            part.unlink()
            raise DownloadError(
                f"{repository.id}: {file.path}: {came:,} bytes came instead of {file.bytes:,}"
            ) from error
        raise
    finally:
        have = part.stat().st_size if part.exists() else 0
        progress.update(before + have - progress.n)


def _shared(progress: "tqdm[Any]") -> Any:
    """Returns what http_get takes for the class of its progress bar: it gets ours, left open."""

    def make(**_: Any) -> AbstractContextManager["tqdm[Any]"]:
        return nullcontext(progress)

    return make


def _check_space(files: Iterable[tuple[RemoteFile, Path]]) -> None:
    """Checks before the first byte that all of it will fit."""
    needed: dict[int, int] = {}
    folders: dict[int, Path] = {}
    for file, path in files:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        device = folder.stat().st_dev
        folders.setdefault(device, folder)
        part = _part(path, file)
        have = part.stat().st_size if part.exists() else 0
        needed[device] = needed.get(device, 0) + max(file.bytes - have, 0)
    for device, folder in folders.items():
        free = shutil.disk_usage(folder).free
        if free < needed[device]:
            raise DownloadError(
                f"{folder}: {os.strerror(errno.ENOSPC)}: {needed[device] / 1e9:.2f} GB are needed, "
                f"{free / 1e9:.2f} GB are free"
            )
