"""Evaluation items in training data: what is shared, in which row, and of which item.

    evaluation items ─► 13-word runs ──┐
    words of training rows ─► runs ────┴► hits ─► common runs out ─► report, rows to drop

An item counts as found in a row that shares a run of ``RUN_WORDS`` words with it (T. Brown et al.,
"Language Models are Few-Shot Learners", 2020, appendix C). An item of ``SHORT_WORDS`` to
``RUN_WORDS - 1`` words has to stand in the row as a whole, and a shorter one has to be the row,
question and answer. Runs that more than ``COMMON_ROWS`` training rows hold are instructions or
phrases, not items, and count for nothing (ibid.).

Items come from benchmarks (``sources.benchmarks``) and from the language's own test and validation
splits. Compared is what is asked and answered, without the template of a multiple-choice question.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from minilingua.curation.hashing import WordHashes, hash_runs, hash_text, hash_words
from minilingua.curation.rows import Flags, Hashes, Indices, Spool

RUN_WORDS = 13
SHORT_WORDS = 8
COMMON_ROWS = 10
_ITEMS = 512
"""Items hashed at a time: about as much text as a chunk of the spool has."""
_FILTER_BITS = 22
_FILTER_SHIFT = np.uint64(64 - _FILTER_BITS)

_Numbers = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One evaluation item."""

    set: str
    """``test``, ``validation`` or ``benchmarks/..``."""
    name: str
    """``Conversation.id``, or the item's own name in its benchmark."""
    key: str | None
    """``Conversation.key`` of a held-out row, None for an item of a benchmark."""
    words: bytes
    """Words of question and answer."""
    pair: int | None
    """``hash_pair`` of question and answer, or None where the answer is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One item in one row."""

    row: int
    """Index of the row in its spool."""
    item: int
    """Index of the item."""
    words: str
    """What they share."""
    is_whole: bool
    """The row is the item: the same question with the same answer."""


class ItemIndex:
    """Finds evaluation items in rows."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self._texts = [item.words for item in items]
        counts = [count_words(text) for text in self._texts]
        long = [index for index, count in enumerate(counts) if count >= RUN_WORDS]
        short = [i for i, count in enumerate(counts) if SHORT_WORDS <= count < RUN_WORDS]
        self._long = _Runs.of(self._texts, long, RUN_WORDS)
        self._beginnings = _Runs.of(self._texts, short, SHORT_WORDS, first_only=True)
        self._short = [
            _Runs.of(self._texts, [index for index in short if counts[index] == length], length)
            for length in sorted({counts[index] for index in short})
        ]
        self._whole: dict[int, list[int]] = {}
        for index, item in enumerate(items):
            if item.words and item.pair is not None:
                self._whole.setdefault(item.pair, []).append(index)

    def search(self, spool: Spool, trained: Flags) -> list[Hit]:
        """Returns the items found in a language's training rows, each item once a row.

        Args:
            spool: the rows.
            trained: which of them are trained on, shape [rows].
        """
        hits = {(hit.row, hit.item): hit for hit in self._search_whole(spool, trained)}
        long = [_Search(runs=runs) for runs in (self._long,) if len(runs.hashes)]
        short = [_Search(runs=runs) for runs in self._short]
        for first, lines in spool.chunks() if long or short else ():
            words = hash_words(lines)
            for search in long:
                search.add(words, first, trained)
            begins = self._beginnings.met(words)[1] if short else None
            for search in short:
                search.add(words, first, trained, begins)
        for search in (*long, *short):
            for row, start, owners in search.found():
                new = [item for item in owners.tolist() if (row, item) not in hits]
                if not new:
                    continue
                text = spool.words(row)
                run = b" ".join(text.split(b" ")[start : start + search.runs.length])
                for item in new:
                    # Read, not only hashed: no row is dropped because two hashes are equal.
                    if _holds(self._texts[item], run):
                        hit = Hit(row=row, item=item, words=run.decode(), is_whole=False)
                        hits.setdefault((row, item), hit)
        return [hits[key] for key in sorted(hits)]

    def _search_whole(self, spool: Spool, trained: Flags) -> Iterator[Hit]:
        keys = np.fromiter(self._whole, dtype=np.uint64, count=len(self._whole))
        for row in map(int, np.flatnonzero(np.isin(spool.rows["pair"], keys) & trained)):
            text = spool.words(row)
            for item in self._whole[int(spool.rows["pair"][row])]:
                if text == self._texts[item]:
                    yield Hit(row=row, item=item, words=text.decode(), is_whole=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Runs:
    """Runs of one length, sorted, each with an item that holds it."""

    length: int
    """Words."""
    hashes: Hashes
    """Shape [runs]; a run of several items stands there several times."""
    items: _Numbers
    """Shape [runs]."""
    beginnings: Flags
    """Shape [2**_FILTER_BITS]: whether some hash begins with these bits; tells most others off."""

    @classmethod
    def of(
        cls, texts: Sequence[bytes], chosen: Sequence[int], length: int, *, first_only: bool = False
    ) -> "_Runs":
        runs = [np.empty(0, dtype=np.uint64)]
        owners = [np.empty(0, dtype=np.int32)]
        for begin in range(0, len(chosen), _ITEMS):
            part = chosen[begin : begin + _ITEMS]
            words = hash_words(b"".join(b"%b\n" % texts[index] for index in part))
            found, starts = hash_runs(words, length)
            rows = words.rows[starts]
            if first_only:
                rows, places = np.unique(rows, return_index=True)
                found = found[places]
            runs.append(found)
            owners.append(np.asarray(part, dtype=np.int32)[rows])
        hashes, items = np.concatenate(runs), np.concatenate(owners)
        order = np.lexsort((items, hashes))
        hashes = hashes[order]
        beginnings = np.zeros(1 << _FILTER_BITS, dtype=np.bool_)
        beginnings[hashes >> _FILTER_SHIFT] = True
        return cls(length=length, hashes=hashes, items=items[order], beginnings=beginnings)

    def met(self, words: WordHashes, begins: Indices | None = None) -> tuple[Indices, Indices]:
        """Returns which of the runs stand in words, and the first words of each, increasing.

        Args:
            words: of some rows.
            begins: first words of the runs to look at, increasing; None: all.
        """
        hashes, starts = hash_runs(words, self.length, begins)
        likely = np.flatnonzero(self.beginnings[hashes >> _FILTER_SHIFT])
        runs = np.searchsorted(self.hashes, hashes[likely])
        runs[runs == len(self.hashes)] = 0
        is_met = self.hashes[runs] == hashes[likely]
        return runs[is_met], starts[likely[is_met]]


@dataclass(slots=True, kw_only=True)
class _Search:
    """Looks for runs of one length in chunk after chunk of rows."""

    runs: _Runs
    _counts: npt.NDArray[np.int64] = field(init=False)
    """Shape [runs]: how many rows hold the run, at the first of equal runs."""
    _hits: list[tuple[_Numbers, _Numbers, _Numbers]] = field(default_factory=list)
    """Rows, runs and first words within the row."""

    def __post_init__(self) -> None:
        self._counts = np.zeros(len(self.runs.hashes), dtype=np.int64)

    def add(
        self, words: WordHashes, first: int, trained: Flags, begins: Indices | None = None
    ) -> None:
        """Looks through rows from ``first`` on; of a run that a row repeats the first counts."""
        runs, starts = self.runs.met(words, begins)
        rows = words.rows[starts]
        _, once = np.unique(rows * len(self._counts) + runs, return_index=True)
        chosen = np.sort(once[trained[first + rows[once]]])
        rows, runs, starts = rows[chosen], runs[chosen], starts[chosen]
        np.add.at(self._counts, runs, 1)
        rare = self._counts[runs] <= COMMON_ROWS  # what was met too often can be forgotten already
        rows, runs, starts = rows[rare], runs[rare], starts[rare]
        if len(rows):
            starts = starts - np.searchsorted(words.rows, rows)
            hit = (first + rows, runs, starts)
            self._hits.append(tuple(numbers.astype(np.int32) for numbers in hit))

    def found(self) -> Iterator[tuple[int, int, _Numbers]]:
        """Yields row, first word in it, and the items of each run that is not common."""
        for rows, runs, starts in self._hits:
            rare = self._counts[runs] <= COMMON_ROWS
            first = runs[rare]
            last = np.searchsorted(self.runs.hashes, self.runs.hashes[first], side="right")
            found = (rows[rare], starts[rare], first, last)
            for row, start, begin, end in zip(*(each.tolist() for each in found), strict=True):
                yield row, start, self.runs.items[begin:end]


def count_words(text: bytes) -> int:
    """Returns the words of single-spaced text."""
    return text.count(b" ") + 1 if text else 0


def hash_pair(question: bytes, answer: bytes) -> int:
    """Returns the hash of words, question and answer apart: ``pair`` of ``ROW``."""
    return hash_text(b"%b\x1e%b" % (question, answer))


def _holds(text: bytes, part: bytes) -> bool:
    """Tells whether words stand in words, as whole words."""
    return b" %b " % part in b" %b " % text
