"""A model of the hub at a commit, as a directory below HF_HOME: data files only, never code."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from minilingua.core.errors import DownloadError, MiniLinguaError, ParamsError
from minilingua.core.files import write_json
from minilingua.core.hub import HubRepository, RemoteFile, list_repository
from minilingua.core.hub_download import cache_directory, download, exclusive

_LISTING = ".files.json"


def fetch_model(
    section: Literal["tokenizer", "base"],
    hub: str,
    revision: str | None,
    choose: Callable[[Iterable[str]], list[str]],
) -> Path:
    """Returns a directory that holds the chosen files of a model.

    What is there already is checked, and nothing is asked of the hub when all of it is.

    Args:
        section: of params.yaml, for messages.
        hub: id of the model.
        revision: its commit, or None where it is not pinned yet.
        choose: paths in the repository ─► those to download.

    Raises:
        ParamsError: it is not pinned; the message names the current commit.
        DownloadError: a file cannot be had, or is not what the hub's listing says.
        RunBusyError: another process downloads the same.
    """
    repository = HubRepository(kind="model", id=hub)
    if revision is None:
        current, _ = list_repository(repository, "main")
        raise ParamsError(
            f"{section}.revision is null: {hub} is not pinned. Its main is now {current}; put that "
            "into params.yaml, or another commit"
        )
    directory = cache_directory("models", f"{hub}@{revision}")
    with exclusive(directory):
        files = _files(repository, revision, directory / _LISTING)
        chosen = _chosen(f"{hub} at {revision}", files, choose)
        with tqdm(
            total=sum(file.bytes for file in chosen),
            desc=section,
            unit="B",
            unit_scale=True,
            disable=None,
        ) as progress:
            pairs = [(file, directory / file.path) for file in chosen]
            download(repository, revision, pairs, progress)
    return directory


def _chosen(
    where: str, files: dict[str, RemoteFile], choose: Callable[[Iterable[str]], list[str]]
) -> list[RemoteFile]:
    try:
        names = choose(files)
    except MiniLinguaError as error:
        raise type(error)(f"{where}: {error}") from error
    missing = [name for name in names if name not in files]
    if missing:
        raise DownloadError(f"{where}: there is no {', '.join(missing)}")
    return [files[name] for name in names]


def _files(repository: HubRepository, revision: str, listing: Path) -> dict[str, RemoteFile]:
    """Returns the files of a commit; they never change, so the hub is asked once."""
    if listing.exists():
        found = [RemoteFile(**each) for each in json.loads(listing.read_text(encoding="utf-8"))]
    else:
        _, found = list_repository(repository, revision)
        write_json(listing, [asdict(file) for file in found])
    return {file.path: file for file in found}
