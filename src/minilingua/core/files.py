"""Reading and writing files so that a crash leaves the old file or the new one, never half of one.

Everything is written beside its destination and then renamed. Outputs are replaced, never opened
for writing in place: a hard-linked DVC cache would be corrupted by that.
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from minilingua.core.errors import DataError, MissingInputError, OutputError, output_error

_CHUNK = 1 << 20

Record = TypeVar("Record")


def canonical_json(value: Any) -> str:
    """Returns JSON with sorted keys, no spaces and plain UTF-8: one text for one value."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False
    )


@contextmanager
def _writing(path: Path, aside: Path) -> Iterator[None]:
    """Tells of a full disk, a missing permission and the like in one line."""
    try:
        yield
    except OSError as error:
        named = str(error.filename or aside)
        told = output_error(error, path if named.startswith(str(aside)) else named)
        if told is None:
            raise
        raise told from error


def fresh_aside(path: Path) -> Path:
    """Returns a name beside ``path``, not there yet, for what is to replace it.

    What dead processes of this machine have left under such names is removed: one that is killed
    cannot do it.
    """
    for left in path.parent.glob(".*.tmp"):
        process = _process_of(left, path)
        if process is not None and (process == os.getpid() or not _is_alive(process)):
            _remove(left)
    return _beside(path, os.getpid())


def _remove(left: Path) -> None:
    shutil.rmtree(left, ignore_errors=True)
    with suppress(OSError):  # a file or link, then
        left.unlink(missing_ok=True)


def _beside(path: Path, process: int) -> Path:
    # With the machine: its processes cannot be seen from another one with the same file system.
    return path.with_name(f".{path.name}.{platform.node()}.{process}.tmp")


def _process_of(left: Path, path: Path) -> int | None:
    """Returns which process of this machine made a name beside ``path``, if one did."""
    process = left.name.split(".")[-2]
    if process.isascii() and process.isdigit() and left == _beside(path, int(process)):
        return int(process)
    return None


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # another user's
        return True
    return True


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """Yields a name beside ``path``; the file of that name replaces ``path`` if all goes well."""
    aside = _beside(path, os.getpid())
    with _writing(path, aside):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise OutputError(f"{path}: is a device or pipe, which is not replaced by a file")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Replaces ``path`` by ``data`` in one step, making its directory when missing.

    Raises:
        OutputError: it cannot be written; what was there before still is.
    """
    with _aside(path) as aside, aside.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def write_text(path: Path, text: str) -> None:
    """Replaces ``path`` by UTF-8 text with LF line ends, in one step."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON with sorted keys: for files that people read."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, indent=2, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path, made_by: str = "") -> dict[str, Any]:
    """Returns the JSON object in a file.

    Raises:
        MissingInputError: there is no such file; the message says which command makes it.
        DataError: it holds something else.
    """
    try:
        value = json.loads(require(path, made_by).read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: expected a JSON object")
    return value


@contextmanager
def staged_directory(path: Path) -> Iterator[Path]:
    """Yields an empty directory that replaces ``path`` when the block ends without an error.

    Raises:
        OutputError: it cannot be written; what was there before still is.
    """
    aside = fresh_aside(path)
    before = fresh_aside(path.with_name(f"{path.name}.before"))
    with _writing(path, aside):
        aside.mkdir(parents=True)
        try:
            yield aside
            # Renamed first: to remove gigabytes takes time, in which a kill would leave neither.
            if path.is_dir():
                path.replace(before)
            try:
                aside.replace(path)
            finally:
                if before.exists() and not path.exists():
                    before.replace(path)
            _remove(before)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


_adapters: dict[type, TypeAdapter[Any]] = {}


def _adapter(record_type: type) -> TypeAdapter[Any]:
    if record_type not in _adapters:  # building one takes milliseconds, using it microseconds
        _adapters[record_type] = TypeAdapter(record_type)
    return _adapters[record_type]


def dump_record(record: Any) -> str:
    """Returns a dataclass record as one line of canonical JSON."""
    return canonical_json(_adapter(type(record)).dump_python(record, mode="json"))


def write_jsonl(path: Path, records: Iterable[Any]) -> int:
    """Writes dataclass records as canonical JSON lines in one step; returns how many.

    Raises:
        OutputError: they cannot be written; what was there before still is.
    """
    count = 0
    with _aside(path) as aside, aside.open("w", encoding="utf-8", newline="\n") as stream:
        for record in records:
            stream.write(dump_record(record) + "\n")
            count += 1
    return count


def read_jsonl(path: Path, record_type: type[Record]) -> Iterator[Record]:
    """Yields the records of a JSON-lines file, each validated strictly.

    Raises:
        MissingInputError: there is no such file.
        DataError: a line is not such a record; the message names file, line and key.
    """
    adapter: TypeAdapter[Record] = _adapter(record_type)
    with require(path).open("rb") as stream:  # bytes: what is no UTF-8 is named like any bad line
        for number, line in enumerate(stream, start=1):
            try:
                yield adapter.validate_json(line, strict=True)
            except ValidationError as error:
                first = error.errors()[0]
                key = ".".join(str(part) for part in first["loc"]) or "line"
                raise DataError(f"{path}:{number}: {key}: {first['msg']}") from error


@contextmanager
def open_text(path: Path) -> Iterator[Iterator[str]]:
    """Opens UTF-8 text for reading line by line.

    Raises:
        MissingInputError: there is no such file.
    """
    require(path)
    with path.open(encoding="utf-8", newline="\n") as stream:
        yield stream


def require(path: Path, made_by: str = "") -> Path:
    """Returns ``path`` if it exists.

    Raises:
        MissingInputError: it does not; the message says which stage makes it.
    """
    if not path.exists():
        hint = f"; `{made_by}` makes it" if made_by else ""
        raise MissingInputError(f"{path} is missing{hint}")
    return path


def sha256_file(path: Path) -> str:
    """Returns the hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def tree_files(path: Path) -> list[Path]:
    """Returns the files under a directory (or the file itself), sorted, without ``__pycache__``."""
    if path.is_file():
        return [path]
    return sorted(
        file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    )


def tree_digest(path: Path) -> str:
    """Returns a SHA-256 over the relative names and bytes of all files under ``path``."""
    digest = hashlib.sha256()
    for file in tree_files(path):
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        digest.update(f"{name}\x1f{sha256_file(file)}\n".encode())
    return digest.hexdigest()
