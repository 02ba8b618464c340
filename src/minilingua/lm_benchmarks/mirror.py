"""Rows of a benchmark out of a local mirror: a directory of files as their publishers name them.

    <mirror>/<owner>/<repository>/<file>      as `hf download --local-dir` writes a data set

Nothing is downloaded and nothing of a mirror is executed. A file that is missing, or does not have
the columns that it should have, is named together with what was expected of it.
"""

import csv
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.languages import LANGUAGES

Row = dict[str, Any]

_MMLUX_CODES = {"pt": "PT-PT"}


def names_of(language: str) -> dict[str, str]:
    """Returns how data sets name a language, for the placeholders of a file's path.

    Keys: ``code`` (ISO 639-1), ``iso639_3``, ``flores`` (``fin_Latn``), ``mmlux`` (``FI``).
    """
    found = LANGUAGES[language]
    return {
        "code": language,
        "iso639_3": found.iso639_3,
        "flores": f"{found.iso639_3}_{found.script}",
        "mmlux": _MMLUX_CODES.get(language, language.upper()),
    }


def find(mirror: Path, pattern: str, language: str, origin: str) -> list[Path]:
    """Returns the files that a pattern stands for, sorted.

    Args:
        mirror: directory of the mirror.
        pattern: relative path with placeholders of ``names_of`` (``$flores``); its last part may
            hold ``*``.
        language: one of ours.
        origin: where the files can be had, for the message.

    Raises:
        MissingInputError: there is none.
    """
    filled = string.Template(pattern).substitute(names_of(language))
    folder, _, name = filled.rpartition("/")
    files = sorted(file for file in (mirror / folder).glob(name) if file.is_file())
    if not files:
        raise MissingInputError(f"{mirror / filled} is missing from the mirror; it is of {origin}")
    return files


def read(
    paths: Iterable[Path], columns: Mapping[str, type], only: tuple[str, str] | None = None
) -> list[Row]:
    """Returns the rows of some files in their order, with the wanted columns only.

    Args:
        paths: ``.jsonl``, ``.tsv`` (with a header) or ``.parquet``.
        columns: name ─► type. Of a ``.tsv`` all values are texts; whole numbers may be written as
            text, and are converted.
        only: of ``.parquet``: column and the value that it has in the rows wanted. The others
            are not loaded, nor counted in messages.

    Raises:
        DataError: a file cannot be decoded, is empty, lacks a column, or holds another type.
    """
    rows: list[Row] = []
    for path in paths:
        decoded = decode(path, only)
        if not decoded:
            of = f" with {only[0]} {only[1]}" if only else ""
            raise DataError(f"{path}: no rows{of}")
        rows += [
            {name: _value(row, name, kind, f"{path}:{number}") for name, kind in columns.items()}
            for number, row in enumerate(decoded, start=1)
        ]
    return rows


def read_lines(path: Path) -> list[str]:
    """Returns the lines of a UTF-8 text, one sentence each.

    Raises:
        DataError: not UTF-8, or a line is empty.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise DataError(f"{path}:{number}: an empty line where a sentence is expected")
    return lines


def decode(path: Path, only: tuple[str, str] | None = None) -> Sequence[Mapping[str, Any]]:
    """Returns the rows of a file, whatever they hold.

    Raises:
        DataError: it cannot be decoded.
    """
    try:
        match path.suffix:
            case ".jsonl":
                lines = path.read_bytes().splitlines()
                return [orjson.loads(line) for line in lines if line.strip()]
            case ".tsv":
                with path.open(encoding="utf-8", newline="") as stream:
                    return list(csv.DictReader(stream, delimiter="\t"))
            case ".parquet":
                from pyarrow import parquet

                filters = None if only is None else [(only[0], "==", only[1])]
                rows: list[Row] = parquet.read_table(path, filters=filters).to_pylist()
                return rows
    except (ValueError, csv.Error) as error:  # pyarrow's errors are ValueErrors
        raise DataError(f"{path}: cannot be decoded: {' '.join(str(error).split())}") from error
    raise DataError(f"{path}: {path.suffix} is none of .jsonl, .tsv, .parquet")


def _value(row: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(row, Mapping) or name not in row:
        found = ", ".join(map(str, row)) if isinstance(row, Mapping) else type(row).__name__
        raise DataError(f"{where}: no column {name!r}; found: {found}")
    value = row[name]
    if kind is int and isinstance(value, str) and value.strip().isdecimal():
        return int(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"{where}: {name} is {value!r}; expected {kind.__name__}")
    return value
