"""Exact duplicates across sources and languages.

Rows are equal if their turns are, once folded (``texts.fold``). Of equal
rows the first one in *precedence* stays, whatever order they were read in:

1. the row of test before validation before train, so that a held-out row keeps its place and the
   copy leaves training,
2. a row that knows its fact, so that no copy hides that the fact is held out,
3. the preferred source (``curate.prefer``),
4. the language that comes first in their canonical order, then hashes of the row itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minilingua.curation.rows import Indices, Rows
from minilingua.curation.splits import TRAIN, Splits

REASON = "duplicate"
HELD_OUT_REASON = "held_out_duplicate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """Rows of one language that repeat another row."""

    rows: Indices
    """Shape [copies], increasing."""
    language: npt.NDArray[np.uint8]
    """Shape [copies]: number of the language of the row that stays."""
    kept: Indices
    """Shape [copies]: index of the row that stays, in its language."""
    from_training: npt.NDArray[np.bool_]
    """Shape [copies]: the copy would be trained on, and the row that stays is held out."""


def precedence(rows: Rows, splits: Splits, language: int = 0) -> npt.NDArray[np.uint32]:
    """Returns numbers that are lower for rows which stay; equal ones are told apart by ``order``.

    Args:
        rows: of one language.
        splits: their splits.
        language: number of the language.
    """
    number = 2 - splits.astype(np.int64)
    for part in (~rows["has_fact"], rows["source"], language):
        number = number << 8 | part
    return number.astype(np.uint32)


def find_copies(
    languages: Sequence[str],
    read: Callable[[str], Rows],
    splits_of: Callable[[Rows], Splits],
) -> dict[str, Copies]:
    """Returns the exact duplicates of each language, in the order of the languages.

    Few rows have a copy. They are found by the hash of their text alone, and only they are looked
    at in full, so that no more than one language's rows are in memory at a time.

    Args:
        languages: codes in canonical order.
        read: returns the rows of a language; called twice for each.
        splits_of: returns the splits of some rows.
    """
    text = np.concatenate([np.empty(0, np.uint64), *(read(name)["text"] for name in languages)])
    text.sort()
    repeated = np.unique(text[1:][text[1:] == text[:-1]])
    del text
    parts = []
    for number, name in enumerate(languages):
        rows = read(name)
        index = np.flatnonzero(np.isin(rows["text"], repeated))
        rows = rows[index]
        splits = splits_of(rows)
        part = np.empty(len(rows), dtype=_CANDIDATE)
        part["text"], part["id"], part["order"] = rows["text"], rows["id"], rows["order"]
        part["precedence"] = precedence(rows, splits, number)
        part["index"], part["language"] = index, number
        part["is_train"] = splits == TRAIN
        parts.append(part)
    rows = np.concatenate([np.empty(0, dtype=_CANDIDATE), *parts])
    rows = rows[np.lexsort((rows["order"], rows["id"], rows["precedence"], rows["text"]))]
    starts = np.flatnonzero(np.concatenate([[True], rows["text"][1:] != rows["text"][:-1]]))
    sizes = np.diff(np.append(starts, len(rows))) if len(rows) else np.empty(0, dtype=np.int64)
    kept = np.repeat(starts[: len(sizes)], sizes)
    found = {}
    for number, name in enumerate(languages):
        mine = np.flatnonzero((rows["language"] == number) & (kept != np.arange(len(rows))))
        mine = mine[np.argsort(rows["index"][mine])]
        stays = rows[kept[mine]]
        found[name] = Copies(
            rows=rows["index"][mine],
            language=stays["language"],
            kept=stays["index"],
            from_training=rows["is_train"][mine] & ~stays["is_train"],
        )
    return found


_CANDIDATE = np.dtype(
    [
        ("text", np.uint64),
        ("id", np.uint64),
        ("order", np.uint64),
        ("precedence", np.uint32),
        ("index", np.int64),
        ("language", np.uint8),
        ("is_train", np.bool_),
    ]
)
