"""The spool: rows between the two passes of curation, as finished lines and fixed-size records.

    spool/<task>-<language>.lines   the line of data/conversations, then where the row stood
    spool/<task>-<language>.words   what is compared: the words of prompt and answer, one row a line
    spool/<task>-<language>.rows    one ``ROW`` each: hashes, and where the other two files have it

The second pass works on the records alone (100 bytes a row, NumPy arrays) and reads texts where it
has to: words in order, lines by offset. So its memory hardly grows with the texts.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
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
_RECORDS = 4096
_CHUNK = 1 << 18


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

    def add(
        self,
        language: str,
        line: bytes,
        where: bytes,
        words: bytes,
        hashes: tuple[int, int, int, int, int],
        kind: tuple[int, int, bool],
    ) -> None:
        """Appends a row.

        Args:
            language: its language.
            line: its line, with the line's end.
            where: source, file and number, for messages.
            words: what is compared.
            hashes: id, text, pair, place and order.
            kind: source, task and whether the row knows its fact.
        """
        stream = self._streams.get(language)
        if stream is None:
            stream = _Stream.open(self.directory / f"{self.task:05d}-{language}")
            self._streams[language] = stream
        sizes = (len(line), len(where), stream.words_at, len(words) + 1)
        count = words.count(b" ") + 1 if words else 0
        stream.records.append((*hashes, stream.lines_at, *sizes, count, *kind))
        stream.lines.write(b"%b%b\n" % (line, where))
        stream.words.write(b"%b\n" % words)
        stream.lines_at += len(line) + len(where) + 1
        stream.words_at += len(words) + 1
        if len(stream.records) == _RECORDS:
            stream.flush()


@dataclass(slots=True, kw_only=True)
class _Stream:
    """The three files of one language."""

    lines: IO[bytes]
    words: IO[bytes]
    rows: IO[bytes]
    records: list[tuple[Any, ...]] = field(default_factory=list)
    """Not yet in ``rows``."""
    lines_at: int = 0
    words_at: int = 0

    @classmethod
    def open(cls, stem: Path) -> "_Stream":
        lines, words, rows = (
            stem.with_suffix(suffix).open("wb", buffering=_BUFFER)
            for suffix in (".lines", ".words", ".rows")
        )
        return cls(lines=lines, words=words, rows=rows)

    def flush(self) -> None:
        self.rows.write(np.array(self.records, dtype=ROW).tobytes())
        self.records.clear()

    def close(self) -> None:
        with self.lines, self.words, self.rows:
            self.flush()


@dataclass(slots=True, kw_only=True)
class Spool:
    """Reads the rows of one language, those of all tasks one behind the other."""

    rows: Rows
    """Shape [rows], of type ``ROW``."""
    _stems: list[Path]
    _starts: Indices
    """Shape [tasks + 1]: the first row of each task."""
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
            _starts=np.cumsum([0, *map(len, parts)], dtype=np.int64),
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
                    yield int(first) + row, stream.read(int(ends[stop - 1]) - read)
                    row, read = stop, int(ends[stop - 1])

    def _read(self, index: int, kind: str, at: int, size: int) -> bytes:
        task = int(np.searchsorted(self._starts, index, side="right")) - 1
        if (task, kind) not in self._files:
            stream = self._stack.enter_context(self._stems[task].with_suffix(kind).open("rb"))
            self._files[task, kind] = stream.fileno()
        return os.pread(self._files[task, kind], size, at)
