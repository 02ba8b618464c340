"""``sources.lock``: the commit of every data set, and size and checksum of every file.

    specs ─► the hub's listing ─► sources.lock (committed) ─► what may be downloaded or copied

A spec says where a source is published, and its commit where that is known; the lock says which
version of it the project uses, to the bytes. ``minilingua fetch --pin`` makes and changes it.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from minilingua.core.errors import DataError, MissingInputError, ParamsError
from minilingua.core.files import write_json
from minilingua.core.hub import HubRepository, RemoteFile, check_path, list_repository
from minilingua.core.languages import LANGUAGES
from minilingua.sources.native import uncovered, wanted_files
from minilingua.sources.spec import DATA_SUFFIXES, SourceSpec

LOCK = Path("sources.lock")

_SHOWN_FILES = 8


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class PinnedFile(_Strict):
    """One file of a data set at its commit."""

    path: str
    """In the repository."""
    bytes: Annotated[int, Field(ge=0)]
    digest: Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|git-sha1:[0-9a-f]{40})$")]

    def remote(self) -> RemoteFile:
        """Returns it as the downloader takes it."""
        return RemoteFile(path=self.path, bytes=self.bytes, digest=self.digest)


class PinnedRepository(_Strict):
    """A data set of the hub at a commit."""

    id: str
    ref: str
    """Branch that was followed when it was pinned."""
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    into: str
    """Folder below the source's directory."""
    files: tuple[PinnedFile, ...]

    def local_files(self) -> dict[str, PinnedFile]:
        """Returns the files by their POSIX paths below the source's directory."""
        return {_local(self.into, file.path): file for file in self.files}


class Lock(_Strict):
    """The whole file."""

    version: Literal[1] = 1
    sources: dict[str, tuple[PinnedRepository, ...]] = {}


def read_lock(path: Path = LOCK) -> Lock:
    """Reads and checks the lock.

    Raises:
        MissingInputError: there is none.
        DataError: it was changed by hand into something else.
    """
    if not path.exists():
        raise MissingInputError(f"{path} is missing; `minilingua fetch --pin` writes it")
    try:
        lock = Lock.model_validate_json(path.read_bytes())
        for pinned in (each for source in lock.sources.values() for each in source):
            for local in pinned.local_files():
                check_path(local)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        raise DataError(f"{path}: {key}: {first['msg']}") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    return lock


def write_lock(lock: Lock, path: Path = LOCK) -> None:
    """Writes the lock; the same pins give the same bytes."""
    write_json(path, lock.model_dump(mode="json"))


def ask_hub(name: str, spec: SourceSpec) -> tuple[PinnedRepository, ...]:
    """Returns the pins of a source as the hub has it now, for all its languages.

    Raises:
        ParamsError: the source is not on the hub.
        DownloadError: the hub cannot be asked.
        DataError: the files are not where the spec says; the message names those that there are.
    """
    if not spec.repositories:
        raise ParamsError(f"{name} is not on the hub: {spec.obtain}")
    pinned = []
    seen: list[str] = []
    for repository in spec.hub_repositories(LANGUAGES).values():
        commit, files = list_repository(
            HubRepository(kind="dataset", id=repository.id), repository.version
        )
        local = {_local(repository.into, file.path): file for file in files}
        seen += local
        pinned.append(
            PinnedRepository(
                id=repository.id,
                ref=repository.ref,
                revision=commit,
                into=repository.into,
                files=tuple(
                    PinnedFile(path=local[path].path, bytes=local[path].bytes,
                               digest=local[path].digest)
                    for path in sorted(wanted_files(spec, LANGUAGES, local))
                ),
            )
        )  # fmt: skip
    missing = uncovered(spec, LANGUAGES, seen)
    if missing:
        data = sorted(path for path in seen if path.endswith(DATA_SUFFIXES))
        shown = ", ".join(data[:_SHOWN_FILES]) + f" and {len(data) - _SHOWN_FILES} more" * (
            len(data) > _SHOWN_FILES
        )
        raise DataError(
            f"sources/specs/{name}.yaml: no file on the hub for {', '.join(missing)}; expected "
            f"{' or '.join(dict.fromkeys(p for part in spec.layouts for p in part.files))}; found "
            f"{shown or 'no data files'}"
        )
    return tuple(pinned)


def pins_of(
    name: str, spec: SourceSpec, languages: Sequence[str], lock: Lock
) -> tuple[PinnedRepository, ...]:
    """Returns the pins of the data sets that hold the given languages of a source.

    Raises:
        ParamsError: it is not pinned, or pinned for another spec.
    """
    hint = f"; `minilingua fetch --pin --source {name}` pins it"
    if name not in lock.sources:
        raise ParamsError(f"{name} is not pinned in {LOCK}{hint}")
    pinned = {repository.id: repository for repository in lock.sources[name]}
    wanted = spec.hub_repositories(languages)
    for identifier, repository in wanted.items():
        found = pinned.get(identifier)
        if (
            found is None
            or (found.ref, found.into) != (repository.ref, repository.into)
            or repository.revision not in (None, found.revision)
        ):
            raise ParamsError(
                f"{LOCK} does not pin {identifier} at {repository.version}, which "
                f"sources/specs/{name}.yaml names{hint}"
            )
    paths = [path for identifier in wanted for path in pinned[identifier].local_files()]
    missing = uncovered(spec, languages, paths)
    if missing:
        raise ParamsError(f"{LOCK} has no file of {name} for {', '.join(missing)}{hint}")
    return tuple(pinned[identifier] for identifier in wanted)


def digests(repositories: Iterable[PinnedRepository]) -> dict[str, PinnedFile]:
    """Returns the files of several data sets by their paths below the source's directory."""
    return {path: file for each in repositories for path, file in each.local_files().items()}


def _local(into: str, path: str) -> str:
    return f"{into}/{path}" if into else path
