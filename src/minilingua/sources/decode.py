"""One native file as a stream of rows, whatever its format; its columns are checked.

Memory does not grow with the size of a file. A file that is not sound is refused as a whole: half a
data set would look like a small one.
"""

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

import orjson

from minilingua.core.errors import DataError
from minilingua.sources.spec import Layout

_CHUNK = 1 << 20
_BATCH_ROWS = 1024
_LONGEST_FIELD = 1 << 30
"""Characters of a quoted field; the csv module's own limit of 128 K would end a good file."""

Columns = frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeFile:
    """One file of a source."""

    path: Path
    relative: str
    """POSIX path below the source's directory."""
    language: str | None
    """Our code where the pattern names it, None where the rows do."""
    layouts: tuple[Layout, ...]
    """The layouts it may have."""


def decode(file: NativeFile) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the rows of a file with their numbers: line or row, from 1.

    Raises:
        DataError: the file is damaged, or its columns are those of none of its layouts.
    """
    name = file.path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        yield from _parquet(file)
        return
    is_compressed = file.path.suffix == ".gz"
    if is_compressed and file.path.stat().st_size == 0:  # to the gzip module that is no error
        raise DataError(f"{file.path}: not a complete gzip file: it is empty")
    opener = gzip.open if is_compressed else open
    try:
        # A byte order mark, as some editors write it, is no text.
        with opener(file.path, "rt", encoding="utf-8-sig", newline="\n") as stream:
            yield from _tsv(file, stream) if name.endswith(".tsv") else _json(file, stream)
    except UnicodeDecodeError as error:
        with opener(file.path, "rb") as raw:
            raise DataError(f"{file.path}{_first_undecodable(raw)}") from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{file.path}: not a complete gzip file: {error}") from error


def _first_undecodable(raw: Iterable[bytes]) -> str:
    """Returns line and byte of the first text that is not UTF-8; the decoder knew neither."""
    for number, line in enumerate(raw, start=1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            return f":{number}: not UTF-8: {error.reason} at byte {error.start} of the line"
    return ": not UTF-8"


def _check_columns(file: NativeFile, found: Columns, where: str) -> None:
    for layout in file.layouts:
        required = frozenset(layout.columns)
        if required <= found <= required.union(layout.optional_columns):
            return
    layout = file.layouts[0]
    missing = [name for name in layout.columns if name not in found]
    unexpected = sorted(found.difference(layout.columns, layout.optional_columns))
    raise DataError(
        f"{where}: found columns {', '.join(sorted(found)) or 'none'}; "
        f"expected {' or '.join(layout.explain_columns() for layout in file.layouts)}"
        + f"; missing: {', '.join(missing)}" * bool(missing)
        + f"; unexpected: {', '.join(unexpected)}" * bool(unexpected)
    )


def _parquet(file: NativeFile) -> Iterator[tuple[int, dict[str, Any]]]:
    def check(columns: Columns) -> None:
        _check_columns(file, columns, str(file.path))

    yield from enumerate(parquet_rows(file.path, check), start=1)


def parquet_rows(
    path: Path, check: Callable[[Columns], None] = lambda _: None
) -> Iterator[dict[str, Any]]:
    """Yields the rows of a parquet file.

    Args:
        path: the file.
        check: called with its columns before any row is read.

    Raises:
        DataError: it is damaged, or holds what Python cannot, such as a date in the year 5,000,000.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, buffer_size=_CHUNK) as table:
            check(frozenset(table.schema_arrow.names))
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                yield from batch.to_pylist()
    # What damaged pages raise, and values out of range.
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: not a readable parquet file: {_first_line(error)}") from error


def _tsv(file: NativeFile, stream: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Reads tab-separated text, with or without a header line.

    With a header it was written by a table library, which quotes fields; without, fields are raw
    and what follows the second one is further accepted outputs.
    """
    layout = file.layouts[0]
    first = stream.readline()
    header = _fields(first)
    if set(header) & set(layout.columns):
        _check_columns(file, frozenset(header), str(file.path))
        yield from _quoted(file, stream, header)
        return
    if first and len(header) < len(layout.columns):
        raise DataError(
            f"{file.path}:1: found {len(header)} column, expected "
            f"{layout.explain_columns()}, separated by tabs"
        )
    for number, line in enumerate(chain([first], stream), start=1):
        if line.strip():
            fields = _fields(line) + [""] * len(layout.columns)
            yield number, dict(zip(layout.columns, fields, strict=False))


def _quoted(
    file: NativeFile, stream: TextIO, header: list[str]
) -> Iterator[tuple[int, dict[str, Any]]]:
    # Strict: a quote that is never closed would swallow every row after it.
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.DictReader(stream, fieldnames=header, dialect="excel-tab", restval="", strict=True)
    try:
        for number, values in enumerate(reader, start=2):
            yield number, dict(values)
    except csv.Error as error:
        raise DataError(f"{file.path}:{reader.line_num + 1}: {error}") from error


def _fields(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t")


def _json(file: NativeFile, stream: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Reads JSON lines, or one JSON array of objects."""
    line, start = 1, stream.read(1)
    while start.isspace():
        line += start == "\n"
        start = stream.read(1)
    values = _array(file, stream) if start == "[" else _lines(file, start, stream, line)
    checked: Columns | None = None
    for number, value in values:
        if not isinstance(value, dict):
            raise DataError(f"{file.path}:{number}: expected an object, found {value!r:.60}")
        if value.keys() != checked:
            checked = frozenset(value)
            _check_columns(file, checked, f"{file.path}:{number}")
        yield number, value


def _lines(file: NativeFile, start: str, stream: TextIO, first: int) -> Iterator[tuple[int, Any]]:
    begun = [start + stream.readline()]
    for number, text in enumerate(chain(begun, stream), start=first):
        if text.strip():
            yield number, json_value(text, f"{file.path}:{number}")


def json_value(text: str, where: str) -> Any:
    """Returns what a JSON text says.

    Raises:
        DataError: it is not JSON; the message begins with ``where``.
    """
    try:
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            # What one of the two refuses, such as half a surrogate pair, the other one may take;
            # and its messages are those that arrays get.
            return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON: {_message(error)}") from error


def _array(file: NativeFile, stream: TextIO) -> Iterator[tuple[int, Any]]:
    decoder = json.JSONDecoder()
    buffer, position, number = "", 0, 1
    is_due = True  # a row: there was a comma, or nothing yet
    while True:
        while position < len(buffer) and buffer[position] in " \t\r\n":
            position += 1
        if not is_due and buffer.startswith(",", position):
            position, is_due = position + 1, True
            continue
        if buffer.startswith("]", position) and not (is_due and number > 1):
            if buffer[position + 1 :].strip() or stream.read().strip():
                raise DataError(f"{file.path}: there is more after the array of {number - 1} rows")
            return
        if not is_due and position < len(buffer):
            raise DataError(f"{file.path}: row {number}: not JSON: no comma before it")
        try:
            value, position = decoder.raw_decode(buffer, position)
        except json.JSONDecodeError as error:
            # As much again as there is, so that a row of any length takes linear time.
            more = stream.read(max(_CHUNK, len(buffer) - position))
            if not more:
                raise DataError(f"{file.path}: row {number}: not JSON: {error.msg}") from error
            buffer, position = buffer[position:] + more, 0
            continue
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file.path}: row {number}: not JSON: {_message(error)}") from error
        yield number, value
        number, is_due = number + 1, False


def _message(error: Exception) -> str:
    """Returns what is wrong with a JSON text: its syntax, its depth, or a number's length."""
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
