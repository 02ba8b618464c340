"""Native files as a stream of rows: finds a source's files, decodes them, checks their columns.

    data/raw/<source>/ ─► NativeFile (pattern, language) ─► NativeRow (plain Python values)

Order is fixed: layouts and patterns as the spec lists them, languages in their canonical order,
files by name, rows as they stand. Memory does not grow with the size of a file.
"""

import csv
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.languages import LANGUAGES
from minilingua.sources.spec import Layout, SourceSpec

_CHUNK = 1 << 20
_BATCH_ROWS = 1024

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


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeRow:
    """One row as its file has it."""

    file: NativeFile
    number: int
    """Line or row, from 1."""
    language: str
    values: dict[str, Any]


def native_files(
    spec: SourceSpec, directory: Path, languages: Sequence[str], hint: str = ""
) -> list[NativeFile]:
    """Returns the files that hold the given languages; languages the source lacks are ignored.

    Args:
        spec: the source.
        directory: where its files are.
        languages: our codes.
        hint: end of the message when something is missing.

    Raises:
        MissingInputError: a language that the source covers has no file.
    """
    wanted = [code for code in LANGUAGES if code in languages and code in spec.languages]
    found: dict[str, NativeFile] = {}
    for code, pattern, layout in _patterns(spec, wanted):
        for path in sorted(directory.glob(pattern)):
            relative = path.relative_to(directory).as_posix()
            known = found.get(relative)
            found[relative] = NativeFile(
                path=path,
                relative=relative,
                language=code,
                layouts=(*(known.layouts if known else ()), layout),
            )
    shared = any(file.language is None for file in found.values())
    covered = {file.language for file in found.values()}
    missing = [] if shared else [code for code in wanted if code not in covered]
    if missing:
        expected = dict.fromkeys(
            pattern for code, pattern, _ in _patterns(spec, wanted) if code in {missing[0], None}
        )
        raise MissingInputError(
            f"{directory}: no file for {', '.join(missing)}; expected for {missing[0]}: "
            f"{' or '.join(expected)}{hint}"
        )
    return list(found.values())


def _patterns(spec: SourceSpec, wanted: list[str]) -> Iterator[tuple[str | None, str, Layout]]:
    for layout in spec.layouts:
        for pattern in layout.files:
            if "{" not in pattern:
                if wanted:
                    # All languages share the file and a column tells them apart, or there is one.
                    yield None if spec.language_column else wanted[0], pattern, layout
                continue
            for code in wanted:
                yield code, pattern.format(code=code, language=spec.languages[code]), layout


def native_rows(
    spec: SourceSpec, file: NativeFile, languages: Sequence[str]
) -> Iterator[NativeRow]:
    """Yields the rows of a file that are in the given languages.

    Raises:
        DataError: the file cannot be decoded, or its columns are not those of its layouts.
    """
    codes = {name: code for code, name in spec.languages.items() if code in languages}
    for number, values in _decode(file):
        language = file.language
        if spec.language_column is not None:
            language = codes.get(_language_name(values, spec.language_column, file, number))
        if language is not None:
            yield NativeRow(file=file, number=number, language=language, values=values)


def _language_name(values: dict[str, Any], column: str, file: NativeFile, number: int) -> str:
    value: Any = values
    for key in column.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, str):
        raise DataError(f"{file.path}:{number}: {column}: expected a language, found {value!r}")
    return value


def _decode(file: NativeFile) -> Iterator[tuple[int, dict[str, Any]]]:
    name = file.path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        yield from _parquet(file)
        return
    opener = gzip.open if file.path.suffix == ".gz" else open
    try:
        with opener(file.path, "rt", encoding="utf-8", newline="\n") as stream:
            yield from _tsv(file, stream) if name.endswith(".tsv") else _json(file, stream)
    except UnicodeDecodeError as error:
        raise DataError(f"{file.path}: not UTF-8: {error.reason} at byte {error.start}") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{file.path}: not a complete gzip file: {error}") from error


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
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file.path) as table:
            _check_columns(file, frozenset(table.schema_arrow.names), str(file.path))
            number = 0
            for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield number, values
    except pa.ArrowException as error:
        raise DataError(
            f"{file.path}: not a readable parquet file: {_first_line(error)}"
        ) from error


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
        reader = csv.DictReader(stream, fieldnames=header, dialect="excel-tab", restval="")
        for number, values in enumerate(reader, start=2):
            yield number, dict(values)
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


def _fields(line: str) -> list[str]:
    return line.rstrip("\r\n").split("\t")


def _json(file: NativeFile, stream: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Reads JSON lines, or one JSON array of objects."""
    start = stream.read(1)
    while start.isspace():
        start = stream.read(1)
    values = _array(file, stream) if start == "[" else _lines(file, start, stream)
    checked: Columns | None = None
    for number, value in values:
        if not isinstance(value, dict):
            raise DataError(f"{file.path}:{number}: expected an object, found {value!r:.60}")
        if value.keys() != checked:
            checked = frozenset(value)
            _check_columns(file, checked, f"{file.path}:{number}")
        yield number, value


def _lines(file: NativeFile, start: str, stream: TextIO) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(stream, start=1):
        text = start + line if number == 1 else line
        if not text.strip():
            continue
        try:
            yield number, json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{file.path}:{number}: not JSON: {error.msg}") from error


def _array(file: NativeFile, stream: TextIO) -> Iterator[tuple[int, Any]]:
    decoder = json.JSONDecoder()
    buffer, position, number = "", 0, 1
    while True:
        while position < len(buffer) and buffer[position] in " \t\r\n,":
            position += 1
        if buffer.startswith("]", position):
            return
        try:
            value, position = decoder.raw_decode(buffer, position)
        except json.JSONDecodeError as error:
            more = stream.read(_CHUNK)
            if not more:
                raise DataError(f"{file.path}: row {number}: not JSON: {error.msg}") from error
            buffer, position = buffer[position:] + more, 0
            continue
        yield number, value
        number += 1


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
