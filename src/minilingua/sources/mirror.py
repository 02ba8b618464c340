"""Directories of native files: filled from the hub, copied to where a run reads them.

sources.lock ─► fill ─► <mirror>/<source>/.. ─► copy ─► data/raw/<source>/..
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.hub import HubRepository
from minilingua.core.hub_download import cache_directory, digest_of, download, exclusive
from minilingua.core.seeding import content_id
from minilingua.sources.decode import NativeFile
from minilingua.sources.native import native_files, wanted_files
from minilingua.sources.pins import LOCK, Lock, PinnedFile, PinnedRepository, digests, pins_of
from minilingua.sources.spec import SourceSpec, load_spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What of a source is wanted."""

    name: str
    languages: Sequence[str]
    evaluation: bool
    """With the files that are for evaluation."""

    @property
    def spec(self) -> SourceSpec:
        """The source's spec."""
        return load_spec(self.name)

    def files(self, directory: Path) -> list[NativeFile]:
        """Returns the files that a directory has of it.

        Raises:
            MissingInputError: a language has none.
        """
        return native_files(self.spec, directory, self.languages, evaluation=self.evaluation)


def fill(directories: Mapping[str, Path], parts: Sequence[Part], lock: Lock) -> None:
    """Downloads the pinned files of sources, each into a directory of its own.

    What an earlier call left is checked and kept, what it began is continued.

    Args:
        directories: source ─► directory.
        parts: what of each source; all are on the hub.
        lock: what is pinned.

    Raises:
        ParamsError: a source is not pinned.
        DownloadError: a file cannot be had, or is not what the lock says.
        RunBusyError: another process fills one of the directories.
    """
    pinned = {part.name: pins_of(part.name, part.spec, part.languages, lock) for part in parts}
    wanted = {
        part.name: [(each, _wanted(part, each)) for each in pinned[part.name]] for part in parts
    }
    with tqdm(
        total=sum(
            file.bytes
            for pairs in wanted.values()
            for _, chosen in pairs
            for file in chosen.values()
        ),
        desc="download",
        unit="B",
        unit_scale=True,
        disable=None,
    ) as progress:
        for part in parts:
            directory = directories[part.name]
            progress.set_postfix_str(part.name)
            with exclusive(directory):
                for each, chosen in wanted[part.name]:
                    download(
                        HubRepository(kind="dataset", id=each.id),
                        each.revision,
                        [(file.remote(), directory / path) for path, file in chosen.items()],
                        progress,
                    )


def cached(name: str, lock: Lock) -> Path:
    """Returns the directory below HF_HOME for a source as it is pinned."""
    revisions = sorted(f"{each.id}@{each.revision}" for each in lock.sources.get(name, ()))
    return cache_directory("sources", f"{name}-{content_id(' '.join(revisions))}")


def copy(directories: Mapping[str, Path], parts: Sequence[Part], raw: Path) -> None:
    """Copies the files that the specs name, once it is known that none is missing.

    Raises:
        MissingInputError: a directory, or a file of a language, is missing.
    """
    copies: list[tuple[Path, Path]] = []
    for part in parts:
        directory = directories[part.name]
        if not directory.is_dir():
            obtain = f"; {part.spec.obtain}" if part.spec.obtain else ""
            raise MissingInputError(
                f"{directory} is missing: the mirror has no {part.spec.title}{obtain}"
            )
        copies += [(file.path, raw / part.name / file.relative) for file in part.files(directory)]
    with tqdm(
        total=sum(original.stat().st_size for original, _ in copies),
        desc="copy",
        unit="B",
        unit_scale=True,
        disable=None,
    ) as progress:
        for original, target in copies:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(original, target)
            progress.update(target.stat().st_size)


def check_pins(part: Part, directory: Path, lock: Lock) -> dict[str, Any]:
    """Compares the files of a source with what the lock says of them.

    Returns:
        For the manifest: ``revisions``, data set ─► commit that its files are from, and
        ``unpinned_files``, those that the lock does not know, as in a mirror made by hand.

    Raises:
        DataError: a file has the name of a pinned one and another content.
        MissingInputError: of the files of a pinned data set some are there and some are not.
    """
    repositories = lock.sources.get(part.name, ())
    known = digests(repositories)
    files = part.files(directory)
    for file in files:
        if file.relative in known:
            _check_digest(part.name, file, known[file.relative], repositories)
    there = {file.relative for file in files}
    for each in repositories:
        missing = sorted(_wanted(part, each).keys() - there)
        if missing and there & each.local_files().keys():
            raise MissingInputError(
                f"{part.name}/{missing[0]} is missing, {len(missing)} of the files of {each.id} "
                f"that {LOCK} pins (revision {each.revision}); {_repaired(part.name)}"
            )
    return {
        "revisions": {
            each.id: each.revision for each in repositories if there & each.local_files().keys()
        },
        "unpinned_files": sorted(there - known.keys()),
    }


def _check_digest(
    name: str, file: NativeFile, pinned: PinnedFile, repositories: Sequence[PinnedRepository]
) -> None:
    found = digest_of(file.path, like=pinned.digest)
    if found != pinned.digest:
        revision = next(each.revision for each in repositories if pinned in each.files)
        raise DataError(
            f"{name}/{file.relative}: its checksum is {found} where {LOCK} pins {pinned.digest} "
            f"(revision {revision}); {_repaired(name)}"
        )


def _repaired(name: str) -> str:
    return f"`minilingua fetch --mirror DIR --source {name}` repairs a mirror"


def _wanted(part: Part, pinned: PinnedRepository) -> dict[str, PinnedFile]:
    local = pinned.local_files()
    chosen = wanted_files(part.spec, part.languages, local, evaluation=part.evaluation)
    return {path: local[path] for path in chosen}
