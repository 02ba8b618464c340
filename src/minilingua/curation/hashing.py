"""Hashes of texts, and of words and of runs of words over many rows at once.

Rows are lines of single-spaced words. A word's hash is a polynomial over its bytes, taken from
prefix sums, then mixed; a run's hash is a polynomial over its words' hashes. All arithmetic is
modulo 2**64, so an array operation a step does it; equal words give equal hashes everywhere.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from minilingua.curation.rows import Hashes, Indices

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2**64
_MIX = np.uint64(0xBF58476D1CE4E5B9)  # of SplitMix64
_RUN = np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(31)
_SPACE, _NEWLINE = ord(" "), ord("\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class WordHashes:
    """The words of some rows."""

    hashes: Hashes
    """Shape [words]."""
    rows: Indices
    """Shape [words]: the row of each word, from 0; not decreasing."""


def hash_text(text: bytes) -> int:
    """Returns a number in [0, 2**64) that depends on the text alone: the same on every machine.

    XXH3, ten times faster than the BLAKE2b of ``core.seeding``: for what is compared within a
    stage. No hash of it is in an output.
    """
    return xxh3_64_intdigest(text)


def hash_words(lines: bytes) -> WordHashes:
    """Returns the words of lines, each of which has to be ended by a line feed."""
    text = np.frombuffer(lines, dtype=np.uint8)
    ends = np.flatnonzero((text == _SPACE) | (text == _NEWLINE))
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    powers, inverses = _powers(1 << max(19, len(text).bit_length()))
    sums = np.empty(len(text) + 1, dtype=np.uint64)
    sums[0] = 0
    np.cumsum((text + np.uint64(1)) * powers[: len(text)], out=sums[1:])
    hashes = (sums[ends] - sums[starts]) * inverses[starts]
    hashes ^= hashes >> _SHIFT
    hashes *= _MIX
    hashes ^= hashes >> _SHIFT
    is_last = text[ends] == _NEWLINE
    rows = np.cumsum(is_last) - is_last
    is_word = ends > starts  # a row without words is an empty line
    return WordHashes(hashes=hashes[is_word], rows=rows[is_word])


def hash_runs(
    words: WordHashes, length: int, begins: Indices | None = None
) -> tuple[Hashes, Indices]:
    """Returns the runs of ``length`` words that lie within a row.

    Args:
        words: of some rows.
        length: words of a run.
        begins: first words of the runs to look at, increasing; None: all.

    Returns:
        Their hashes and their first words (indices into ``words``), both of shape [runs].
    """
    count = max(0, len(words.hashes) - length + 1)
    first: slice | Indices = slice(count) if begins is None else begins[begins < count]
    runs = words.hashes[first].copy()
    for offset in range(1, length):
        runs *= _RUN
        runs += words.hashes[offset:][first]
    runs ^= runs >> _SHIFT
    within = words.rows[first] == words.rows[length - 1 :][first]
    return runs[within], np.flatnonzero(within) if begins is None else begins[begins < count][
        within
    ]


@lru_cache(maxsize=1)
def _powers(size: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Returns the powers of the base and of its inverse, both of shape [size]."""
    return (
        np.cumprod(_geometric(_BASE, size), dtype=np.uint64),
        np.cumprod(_geometric(pow(_BASE, -1, 1 << 64), size), dtype=np.uint64),
    )


def _geometric(ratio: int, size: int) -> npt.NDArray[np.uint64]:
    factors = np.full(size, ratio, dtype=np.uint64)
    factors[0] = 1
    return factors
