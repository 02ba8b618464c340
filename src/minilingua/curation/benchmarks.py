"""Texts of benchmarks that training data must not hold: a directory, a file a set.

    <directory>/arc_test.jsonl        one JSON object a line
    <directory>/include/greek.parquet one row an item
    <directory>/own_questions.txt     one question a line

A set is named ``benchmarks/`` and its path without the ending. Of an object
these keys are read, in this order of preference: the question from ``question`` (a text, or an
object with ``stem``), ``input``, ``inputs``, ``prompt``, ``instruction``, ``text``; the answer, if
there is one, from ``answer``, ``output``, ``targets``, ``target``, ``response``; the name from
``id``, else the line's number. Of a question with options the answer is the text of the right one,
whichever way its key points at it: a letter or number is no answer to look for.
"""

import string
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from minilingua.core.errors import DataError
from minilingua.core.files import sha256_file
from minilingua.curation.contamination import Item, hash_pair
from minilingua.curation.texts import fold, join_words, words
from minilingua.sources.benchmark_files import LINES, benchmark_files
from minilingua.sources.decode import json_value, parquet_rows
from minilingua.sources.readers import multiple_choice
from minilingua.sources.readers.rows import Question, RejectedRowError, UnexpectedShapeError

_QUESTION = ("question", "input", "inputs", "prompt", "instruction", "text")
_ANSWER = ("answer", "output", "targets", "target", "response")
_READERS: tuple[tuple[str, Callable[[dict[str, Any]], Question]], ...] = (
    ("answerKey", multiple_choice.keyed),
    ("candidate_answers", multiple_choice.numbered_candidates),
    ("mc1_targets", multiple_choice.labelled_targets),
    ("option_a", multiple_choice.lettered_columns),
    ("choices", multiple_choice.lettered_columns),
)
"""A column that only such rows have, and their reader."""
_BELEBELE = ("mc_answer1", "mc_answer2", "mc_answer3", "mc_answer4")


def read_benchmarks(directory: Path) -> tuple[list[Item], dict[str, dict[str, Any]]]:
    """Reads all sets of a directory, in the order of their names.

    Returns:
        The items, and for each set its checksum and number of items, for the manifest.

    Raises:
        MissingInputError: the directory is missing or holds no set.
        DataError: a file is of no known kind, or an item has no question.
    """
    items: list[Item] = []
    sets: dict[str, dict[str, Any]] = {}
    for path in benchmark_files(directory):
        name = f"benchmarks/{path.relative_to(directory).with_suffix('').as_posix()}"
        if name in sets:
            raise DataError(f"{path}: another file of the same name but for its ending")
        found = [_item(name, path, number, values) for number, values in _read(path)]
        items += found
        sets[name] = {"sha256": sha256_file(path), "items": len(found)}
    return items, sets


def _read(path: Path) -> Iterator[tuple[int, Any]]:
    """Yields the rows of a file with their numbers: line or row, from 1; blank lines are none."""
    if path.suffix == ".parquet":
        yield from enumerate(parquet_rows(path), start=1)
        return
    try:
        # A byte order mark, as some editors write it, is no text.
        with path.open(encoding="utf-8-sig", newline="\n") as stream:
            lines = ((number, line) for number, line in enumerate(stream, start=1) if line.strip())
            if path.suffix == ".tsv":
                yield from _named(line for _, line in lines)
                return
            for number, line in lines:
                if path.suffix in LINES:
                    yield number, {"question": line}
                else:
                    yield number, json_value(line, f"{path}:{number}")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from error


def _named(lines: Iterator[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields tab-separated rows under the columns of the first line; quotes are text."""
    rows = (line.rstrip("\r\n").split("\t") for line in lines)
    names = next(rows, [])
    for number, fields in enumerate(rows, start=1):
        yield number, dict(zip(names, fields, strict=False))


def _item(name: str, path: Path, number: int, values: Any) -> Item:
    if not isinstance(values, dict):
        raise DataError(f"{path}:{number}: expected an object, found {values!r:.60}")
    question = next((values[key] for key in _QUESTION if values.get(key)), None)
    if isinstance(question, dict):
        question = question.get("stem")
    if not isinstance(question, str):
        raise DataError(
            f"{path}:{number}: no question; it is looked for in {', '.join(_QUESTION)}; "
            f"found {', '.join(map(str, values)) or 'nothing'}"
        )
    answer = _answer(values)
    asked = _words(question)
    answered = b"" if answer is None else _words(answer)
    return Item(
        set=name,
        name=str(values.get("id", number)),
        key=None,
        words=join_words(asked, answered),
        pair=hash_pair(asked, answered) if answered else None,
    )


def _words(text: str) -> bytes:
    # Half a surrogate pair, which JSON can spell, is no part of a word.
    return words(fold(text.encode(errors="replace").decode()))


def _answer(values: dict[str, Any]) -> str | None:
    """Returns the answer in words, or None where it is not known."""
    for column, read in _READERS:
        if column in values:
            try:
                found = read(_with_position(values, column))
            except (RejectedRowError, UnexpectedShapeError):
                return None
            return found.options[found.answer]
    if _BELEBELE[0] in values:
        return _chosen([values.get(name) for name in _BELEBELE], values.get("correct_answer_num"))
    return next((values[key] for key in _ANSWER if isinstance(values.get(key), str)), None)


def _with_position(values: dict[str, Any], column: str) -> dict[str, Any]:
    """Returns a row of options whose ``answer``, if it is a letter or a text, is a position."""
    answer = values.get("answer")
    if column not in ("option_a", "choices") or not isinstance(answer, str):
        return values
    options = values.get("choices")
    if isinstance(options, list) and answer in options:
        return values | {"answer": options.index(answer)}
    is_letter = len(answer) == 1 and answer in string.ascii_uppercase
    return values | {"answer": string.ascii_uppercase.index(answer) if is_letter else None}


def _chosen(options: Sequence[Any], number: Any) -> str | None:
    """Returns the option with a number, counted from 1."""
    text = str(number)
    if not text.isdecimal() or not 1 <= int(text) <= len(options):
        return None
    chosen = options[int(text) - 1]
    return chosen if isinstance(chosen, str) else None
