"""Texts of benchmarks that training data must not hold: a directory, a file a set.

    <directory>/arc_test.jsonl        one JSON object a line
    <directory>/include/greek.parquet one row an item
    <directory>/own_questions.txt     one question a line

A set is named ``benchmarks/`` and its path without the ending. Of an object
these keys are read, in this order of preference: the question from ``question`` (a text, or an
object with ``stem``), ``input``, ``inputs``, ``prompt``, ``instruction``, ``text``; the answer, if
there is one, from ``answer``, ``output``, ``targets``, ``target``, ``response``; the name from
``id``, else the line's number.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import open_text, sha256_file
from minilingua.curation.contamination import Item, hash_pair
from minilingua.curation.texts import fold, join_words, words

_QUESTION = ("question", "input", "inputs", "prompt", "instruction", "text")
_ANSWER = ("answer", "output", "targets", "target", "response")
_ENDINGS = (".jsonl", ".parquet", ".txt")


def read_benchmarks(directory: Path) -> tuple[list[Item], dict[str, dict[str, Any]]]:
    """Reads all sets of a directory, in the order of their names.

    Returns:
        The items, and for each set its checksum and number of items, for the manifest.

    Raises:
        MissingInputError: the directory is missing or holds no set.
        DataError: a file is of no known kind, or an item has no question.
    """
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    if not files:
        raise MissingInputError(f"sources.benchmarks: {directory} is no directory of benchmarks")
    items: list[Item] = []
    sets: dict[str, dict[str, Any]] = {}
    for path in files:
        if path.suffix not in _ENDINGS:
            raise DataError(f"{path}: benchmarks are {', '.join(_ENDINGS)} files")
        name = f"benchmarks/{path.relative_to(directory).with_suffix('').as_posix()}"
        if name in sets:
            raise DataError(f"{path}: another file of the same name but for its ending")
        found = [
            _item(name, path, number, values) for number, values in enumerate(_read(path), start=1)
        ]
        items += found
        sets[name] = {"sha256": sha256_file(path), "items": len(found)}
    return items, sets


def _read(path: Path) -> Iterator[Any]:
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as table:
                for batch in table.iter_batches():
                    yield from batch.to_pylist()
        except pa.ArrowException as error:
            raise DataError(f"{path}: not a readable parquet file: {error!s:.200}") from error
        return
    try:
        with open_text(path) as stream:
            for number, line in enumerate(stream, start=1):
                if path.suffix == ".txt":
                    yield {"question": line}
                else:
                    yield _object(path, number, line)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from error


def _object(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{number}: not JSON: {error.msg}") from error


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
    answer = next((values[key] for key in _ANSWER if isinstance(values.get(key), str)), None)
    asked = words(fold(question))
    answered = b"" if answer is None else words(fold(answer))
    return Item(
        set=name,
        name=str(values.get("id", number)),
        key=None,
        words=join_words(asked, answered),
        pair=hash_pair(asked, answered) if answered else None,
    )
