"""The spool: rows between the two passes of curation, as finished lines and fixed-size records.

    spool/<task>-<language>.lines   the line of data/conversations, then where the row stood
    spool/<task>-<language>.words   what is compared: the words of prompt and answer, one row a line
    spool/<task>-<language>.rows    one ``ROW`` each: hashes, and where the other two files have it

The second pass works on the records alone (100 bytes a row, NumPy arrays) and reads texts where it
has to: words in order, lines by offset. So its memory hardly grows with the texts.
"""

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from minilingua.core.records import Task

Rows = npt.NDArray[np.void]
Indices = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]

TASKS: tuple[Task, ...] = ("instruction", "mcqa", "code")

ROW = np.dtype(
    [
        ("id", np.uint64),  # Conversation.id
        ("text", np.uint64),  # hash of the folded turns: equal for exact duplicates
        ("pair", np.uint64),  # hash of the words of prompt and answer (of code: and of its signs)
        ("asked", np.uint64),  # hash of the folded first turn of the user
        ("place", np.uint64),  # hash of Conversation.key: decides the split
        ("order", np.uint64),  # hash of source, language and row
        ("line_at", np.uint64),  # bytes, in .lines
        ("line_size", np.uint32),  # bytes
        ("where_size", np.uint16),  # bytes, behind the line
        ("words_at", np.uint64),  # bytes, in .words
        ("words_size", np.uint32),  # bytes, with the line's end
        ("word_count", np.uint32),
        ("source", np.uint8),  # index, the preferred source first
        ("task", np.uint8),  # index in TASKS
        ("has_fact", np.bool_),
    ]
)

_BUFFER = 1 << 18
_CHUNK = 1 << 18
_LINES = 4096  # whose places are Python numbers at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolRows:
    """Some rows of one language on their way into the spool; every part has one entry a row."""

    lines: Sequence[bytes]
    """Lines of ``data/conversations``, with their ends."""
    where: Sequence[bytes]
    """Source, file and number, for messages."""
    words: Sequence[bytes]
    """What is compared."""
    columns: Mapping[str, Sequence[int]]
    """The fields of ``ROW`` that the other parts do not tell."""


@dataclass(slots=True, kw_only=True)
class SpoolWriter:
    """Writes the rows of one task, of several languages; use it in a ``with`` block."""

    directory: Path
    task: int
    """Number of the task: its rows come before those of the next one."""
    _streams: dict[str, "_Stream"] = field(default_factory=dict)

    def __enter__(self) -> "SpoolWriter":
        return self

    def __exit__(self, *error: object) -> None:
        for stream in self._streams.values():
            stream.close()

    def add(self, language: str, rows: SpoolRows) -> None:
        """Appends rows of a language."""
        stream = self._streams.get(language)
        if stream is None:
            stream = _Stream.open(self.directory / f"{self.task:05d}-{language}")
            self._streams[language] = stream
        stream.add(rows)


@dataclass(slots=True, kw_only=True)
class _Stream:
    """The three files of one language."""

    lines: IO[bytes]
    words: IO[bytes]
    rows: IO[bytes]
    lines_at: int = 0
    words_at: int = 0

    @classmethod
    def open(cls, stem: Path) -> "_Stream":
        lines, words, rows = (
            stem.with_suffix(suffix).open("wb", buffering=_BUFFER)
            for suffix in (".lines", ".words", ".rows")
        )
        return cls(lines=lines, words=words, rows=rows)

    def add(self, rows: SpoolRows) -> None:
        records = np.empty(len(rows.lines), dtype=ROW)
        for name, values in rows.columns.items():
            records[name] = values
        records["line_size"] = [len(line) for line in rows.lines]
        records["where_size"] = [len(where) for where in rows.where]
        records["words_size"] = [len(words) + 1 for words in rows.words]
        records["word_count"] = [words.count(b" ") + 1 if words else 0 for words in rows.words]
        sizes = records["line_size"].astype(np.uint64) + records["where_size"] + np.uint64(1)
        records["line_at"], self.lines_at = _offsets(sizes, self.lines_at)
        records["words_at"], self.words_at = _offsets(records["words_size"], self.words_at)
        parts = [b"\n"] * (3 * len(rows.lines))
        parts[::3], parts[1::3] = rows.lines, rows.where
        self.lines.write(b"".join(parts))
        self.words.write(b"\n".join([*rows.words, b""]))
        self.rows.write(records.tobytes())

    def close(self) -> None:
        with self.lines, self.words, self.rows:
            pass


def _offsets(sizes: npt.NDArray[Any], begin: int) -> tuple[Hashes, int]:
    """Returns where parts of some sizes begin, and where the last one ends."""
    ends = begin + np.cumsum(sizes, dtype=np.uint64)
    return ends - sizes, int(ends[-1])


@dataclass(slots=True, kw_only=True)
class Spool:
    """Reads the rows of one language, those of all tasks one behind the other."""

    rows: Rows
    """Shape [rows], of type ``ROW``."""
    _stems: list[Path]
    _starts: list[int]
    """The first row of each task, and the number of rows."""
    _files: dict[tuple[int, str], int] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    @classmethod
    def open(cls, directory: Path, language: str) -> "Spool":
        """Returns the rows of a language; use it in a ``with`` block to read its lines."""
        files = sorted(directory.glob(f"*-{language}.rows"))
        parts = [np.fromfile(file, dtype=ROW) for file in files]
        return cls(
            rows=np.concatenate([np.empty(0, dtype=ROW), *parts]),
            _stems=[file.with_suffix("") for file in files],
            _starts=list(accumulate(map(len, parts), initial=0)),
        )

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files that were opened."""
        self._stack.close()
        self._files.clear()

    def line(self, index: int) -> bytes:
        """Returns a row's line, with the line's end."""
        row = self.rows[index]
        return self._read(index, ".lines", int(row["line_at"]), int(row["line_size"]))

    def lines(self, indices: Indices) -> Iterator[bytes]:
        """Yields the lines of rows, in any order, with their ends."""
        for begin in range(0, len(indices), _LINES):
            batch = indices[begin : begin + _LINES]
            tasks = np.searchsorted(self._starts, batch, side="right") - 1
            places = (self.rows[name][batch].tolist() for name in ("line_at", "line_size"))
            for task, at, size in zip(tasks.tolist(), *places, strict=True):
                yield os.pread(self._file(task, ".lines"), size, at)

    def where(self, index: int) -> str:
        """Returns where a row stood, such as ``aya/data/train.parquet:7``."""
        row = self.rows[index]
        at = int(row["line_at"]) + int(row["line_size"])
        return self._read(index, ".lines", at, int(row["where_size"])).decode()

    def words(self, index: int) -> bytes:
        """Returns a row's words, without the line's end."""
        row = self.rows[index]
        return self._read(index, ".words", int(row["words_at"]), int(row["words_size"]) - 1)

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yields the words of all rows in order: first row, and many lines of about 256 KiB."""
        for stem, first, last in zip(self._stems, self._starts[:-1], self._starts[1:], strict=True):
            sizes = self.rows["words_size"][first:last].astype(np.int64)
            ends = np.cumsum(sizes)
            with stem.with_suffix(".words").open("rb") as stream:
                row, read = 0, 0
                while row < len(sizes):
                    stop = max(row + 1, int(np.searchsorted(ends, read + _CHUNK, side="right")))
                    yield first + row, stream.read(int(ends[stop - 1]) - read)
                    row, read = stop, int(ends[stop - 1])

    def _read(self, index: int, kind: str, at: int, size: int) -> bytes:
        return os.pread(self._file(bisect_right(self._starts, index) - 1, kind), size, at)

    def _file(self, task: int, kind: str) -> int:
        if (task, kind) not in self._files:
            stream = self._stack.enter_context(self._stems[task].with_suffix(kind).open("rb"))
            self._files[task, kind] = stream.fileno()
        return self._files[task, kind]
