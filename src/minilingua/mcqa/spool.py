"""Selected questions on disk between the two passes of the stage, so that memory stays flat.

    <number>.tsv   the questions that one task has read, in their order
    Index          in memory, one a language: key, file and place of every question (22 bytes)

The quotas need to know how many questions a language has before the first of them is written.
Texts are escaped for JSON, as they are written in the end, so that tabs and line breaks can
separate them.
"""

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from minilingua.mcqa.build import Question
from minilingua.mcqa.render import EscapedQuestion, escaped_question

Index = npt.NDArray[np.void]
"""[questions] of ``INDEX_TYPE``."""

INDEX_TYPE = np.dtype([("key", "<u8"), ("offset", "<u8"), ("length", "<u4"), ("file", "<u2")])
"""``key`` is the question's key as a number; ``file`` the number of its spool file."""

_CHUNK = 256  # questions


def spool_questions(
    directory: Path, number: int, questions: Iterable[Question]
) -> dict[str, Index]:
    """Writes one file of questions, one a line; returns where each language's stand."""
    keys: dict[str, array[int]] = {}
    places: dict[str, array[int]] = {}
    offset = 0
    with (directory / f"{number}.tsv").open("wb") as stream:
        for item in questions:
            line = _line(escaped_question(item)).encode()
            stream.write(line)
            keys.setdefault(item.language, array("Q")).append(int(item.key, 16))
            places.setdefault(item.language, array("Q")).extend((offset, len(line)))
            offset += len(line)
    found = {}
    for language, numbers in keys.items():
        index = np.zeros(len(numbers), dtype=INDEX_TYPE)
        index["key"] = numbers
        index["offset"], index["length"] = np.asarray(places[language]).reshape(-1, 2).T
        index["file"] = number
        found[language] = index
    return found


class Spool:
    """Reads questions back, in any order."""

    def __init__(self, directory: Path) -> None:
        """Takes the directory of the spool files."""
        self._directory = directory
        self._files: dict[int, int] = {}
        self._open = ExitStack()

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def questions(self, index: Index) -> Iterator[EscapedQuestion]:
        """Yields the questions of an index, in its order."""
        for begin in range(0, len(index), _CHUNK):
            for _, offset, length, number in index[begin : begin + _CHUNK].tolist():
                yield self._read(number, offset, length)

    def _read(self, number: int, offset: int, length: int) -> EscapedQuestion:
        if number not in self._files:
            stream = (self._directory / f"{number}.tsv").open("rb", buffering=0)
            self._files[number] = self._open.enter_context(stream).fileno()
        line = os.pread(self._files[number], length, offset)
        source, row, language, fact, key, answer, text, *options = line[:-1].decode().split("\t")
        return EscapedQuestion(
            Question(
                source=source,
                row=row,
                language=language,
                fact=fact or None,
                key=key,
                text=text,
                options=tuple(options),
                answer=int(answer),
            )
        )


def distinct(
    parts: Sequence[Index],
    spool: Spool,
    drop: Callable[[EscapedQuestion, EscapedQuestion], None],
) -> Index:
    """Merges the indexes of a language's sources, sorted by key, each key once.

    Of equal keys the question that is first by ``Question.precedence`` stays, whatever order they
    came in.

    Args:
        parts: what ``spool_questions`` returned for the language.
        spool: the questions.
        drop: called with each question that is left out, and the one that stays in its place.
    """
    merged = np.concatenate([np.zeros(0, dtype=INDEX_TYPE), *parts])
    merged = merged[np.argsort(merged["key"], kind="stable")]
    begins = np.flatnonzero(np.diff(merged["key"], prepend=merged["key"][:1] + 1))
    ends = np.append(begins[1:], len(merged))
    kept = begins.copy()
    for group in np.flatnonzero(ends - begins > 1):
        questions = list(spool.questions(merged[begins[group] : ends[group]]))
        best = min(range(len(questions)), key=lambda place: questions[place].precedence())
        kept[group] += best
        for item in questions[:best] + questions[best + 1 :]:
            drop(item, questions[best])
    return merged[kept]


def _line(item: EscapedQuestion) -> str:
    fields = (item.source, item.row, item.language, item.fact or "", item.key, str(item.answer))
    return "\t".join([*fields, item.text, *item.options]) + "\n"
