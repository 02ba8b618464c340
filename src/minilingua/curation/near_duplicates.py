"""Near duplicates within a language: candidates by MinHash-LSH, each verified before it is dropped.

    words ─► hashes of 3-word shingles ─► MinHash (rensa) ─► bands ─► rows that share a band
    rows in order of precedence: is one that was kept the same? yes: drop, no: keep

MinHash: A. Broder, "On the resemblance and containment of documents", SEQUENCES 1997. With 9 bands
of 7 rows a pair with a Jaccard similarity of 0.8 becomes a candidate with probability 0.88, of 0.9
with 0.997, of 0.5 with 0.07; FineWeb's 14 bands of 8 (0.92, 0.999, 0.05) cost nearly twice as much.

A candidate is dropped only if ``same`` says so: templates that two rows share verbatim, sentence by
sentence, are taken out of their prompts first, and prompt and answer are compared each for itself.
So two questions about one paragraph, or in one long instruction, both stay. Texts of fewer than
``MINIMUM_WORDS`` words are left to the search for exact duplicates.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from minilingua.core.languages import CODE
from minilingua.curation.hashing import hash_runs, hash_words
from minilingua.curation.rows import Flags, Hashes, Indices, Spool
from minilingua.curation.texts import fold

REASON = "near_duplicate"

MINIMUM_WORDS = 20
"""Shorter texts are never near duplicates: one word of them is too much of what they say."""
SHINGLE_WORDS = 3
BANDS = 9
BAND_ROWS = 7
COMPARISONS = 64
"""Kept rows of one band that a row is compared with at most. A band holds more than that only where
a template dominates many rows; then later rows are compared with the first of them."""

_FEATURES = 1024  # rows whose features are kept at hand: about 10 MB
_SEED = 1  # of the permutations: any constant
_MIX = np.uint64(0x9E3779B97F4A7C15)
_DIGEST = Struct(f"<{BANDS * BAND_ROWS}I")
_SENTENCE = re.compile(r"(?<=[.!?…;:])\s+|\n+")
_NUMBER = re.compile(r"\d+")
_PROSE_TOKENS = re.compile(r"[^\s.,;:!?…\"'“”„«»‘’()\[\]{}¿¡·–—-]+")
_CODE_TOKENS = re.compile(r"\w+|[^\w\s]")

Shingles = frozenset[tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NearCopy:
    """A row that another one makes superfluous."""

    row: int
    kept: int
    similarity: float


def find_near_copies(
    spool: Spool, order: Indices, candidates: Flags, threshold: float
) -> Iterator[NearCopy]:
    """Yields the near duplicates of a language, in order of precedence.

    Args:
        spool: the language's rows.
        order: row indices by precedence, the one that stays first; shape [rows].
        candidates: rows to look at (those not yet dropped); shape [rows].
        threshold: least Jaccard similarity.
    """
    chosen = candidates & (spool.rows["word_count"] >= MINIMUM_WORDS)
    ranked = order[chosen[order]]
    groups = band_groups(spool, ranked)
    kept_in: dict[int, list[int]] = {}
    features = lru_cache(maxsize=_FEATURES)(lambda row: read_features(spool.line(row)))
    sharing = np.flatnonzero((groups >= 0).any(axis=1))
    groups = groups[sharing]
    for place, numbers in zip(sharing, groups, strict=True):
        row = int(ranked[place])
        bands = numbers[numbers >= 0].tolist()
        near = sorted({other for band in bands for other in kept_in.get(band, ())})
        copy = _first_same(row, [int(ranked[other]) for other in near], features, threshold)
        if copy is not None:
            yield copy
            continue
        for band in bands:
            members = kept_in.setdefault(band, [])
            if len(members) < COMPARISONS:
                members.append(int(place))


def _first_same(
    row: int, others: list[int], features: Callable[[int], "Features"], threshold: float
) -> NearCopy | None:
    for other in others:
        similarity = same(features(row), features(other), threshold)
        if similarity is not None:
            return NearCopy(row=row, kept=other, similarity=similarity)
    return None


def band_groups(spool: Spool, ranked: Indices) -> npt.NDArray[np.int32]:
    """Returns which rows share a band.

    Args:
        spool: the language's rows.
        ranked: row indices, shape [chosen].

    Returns:
        Numbers of groups, equal for rows with an equal band and -1 where no other row has it; shape
        [chosen, bands].
    """
    place_of = np.full(len(spool.rows), -1, dtype=np.int64)
    place_of[ranked] = np.arange(len(ranked))
    bands = [np.empty(len(ranked), dtype=np.uint64) for _ in range(BANDS)]
    for first, lines in spool.chunks():
        rows, hashes = band_hashes(lines)
        places = place_of[first + rows]
        wanted = places >= 0
        for band, column in zip(bands, hashes[wanted].T, strict=True):
            band[places[wanted]] = column
    del place_of
    groups = np.full((len(ranked), BANDS), -1, dtype=np.int32)
    found = 0
    for column in range(BANDS):
        members, numbers, count = _equal(bands.pop(0))  # its memory is free before the next one
        groups[members, column] = found + numbers
        found += count
    return groups


def _equal(values: Hashes) -> tuple[Indices, Indices, int]:
    """Returns where values stand that occur more than once, their numbers from 0, and how many."""
    order = np.argsort(values)
    values = values[order]
    is_again = values[1:] == values[:-1]
    is_shared = np.zeros(len(values), dtype=np.bool_)
    is_shared[1:] |= is_again
    is_shared[:-1] |= is_again
    is_first = is_shared.copy()
    is_first[1:] &= ~is_again
    numbers = np.cumsum(is_first[is_shared])
    return order[is_shared], numbers - 1, int(is_first.sum())


def band_hashes(lines: bytes) -> tuple[Indices, Hashes]:
    """Returns the LSH bands of the lines that have ``MINIMUM_WORDS`` words.

    Returns:
        Numbers of those lines, shape [long], and hashes of their bands, shape [long, bands].
    """
    import rensa

    words = hash_words(lines)
    shingles, first_words = hash_runs(words, SHINGLE_WORDS)
    rows, counts = _runs(words.rows[first_words])
    long = counts > MINIMUM_WORDS - SHINGLE_WORDS
    if not long.any():
        return rows[long], np.empty((0, BANDS), dtype=np.uint64)
    kept = np.repeat(long, counts)
    offsets = np.concatenate([[0], np.cumsum(counts[long])]).astype(np.uint64)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(
        shingles[kept], offsets, BANDS * BAND_ROWS, _SEED
    )
    # Packed they become an array in half the time that NumPy takes for lists of numbers.
    packed = b"".join([_DIGEST.pack(*digest) for digest in matrix.to_rows()])
    digests = np.frombuffer(packed, dtype="<u4").reshape(-1, BANDS, BAND_ROWS).astype(np.uint64)
    hashes = np.zeros(digests.shape[:2], dtype=np.uint64)
    for column in range(BAND_ROWS):
        hashes = (hashes ^ digests[:, :, column]) * _MIX
        hashes ^= hashes >> np.uint64(29)
    return rows[long], hashes


def _runs(values: Indices) -> tuple[Indices, Indices]:
    """Returns the distinct ones of values that do not decrease, and how often each occurs."""
    begins = np.flatnonzero(np.diff(values, prepend=-1))
    return values[begins], np.diff(np.append(begins, len(values)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What a row is compared by."""

    is_question: bool
    numbers: tuple[list[str], list[str]]
    """Digits of prompt and answer, in order."""
    sentences: tuple[tuple[str, ...], ...]
    """Tokens of each sentence of the prompt."""
    answer: tuple[str, ...]
    """Tokens of the answer."""


def read_features(line: bytes) -> Features:
    """Returns the features of a line of the spool."""
    row: dict[str, Any] = orjson.loads(line)
    if row["choice"] is not None:
        prompt = row["choice"]["question"]
        answer = row["choice"]["options"][row["choice"]["answer"]]
    else:
        prompt, answer = (
            "\n".join(
                turn["content"]
                for turn in row["messages"]
                if (turn["role"] == "assistant") is is_answer
            )
            for is_answer in (False, True)
        )
    tokens = _CODE_TOKENS if row["language"] == CODE else _PROSE_TOKENS
    sentences = (tuple(tokens.findall(fold(part))) for part in _SENTENCE.split(prompt))
    return Features(
        is_question=row["task"] == "mcqa",
        numbers=(_NUMBER.findall(prompt), _NUMBER.findall(answer)),
        sentences=tuple(sentence for sentence in sentences if sentence),
        answer=tuple(tokens.findall(fold(answer))),
    )


def same(first: Features, second: Features, threshold: float) -> float | None:
    """Returns how similar two rows are if one makes the other superfluous, else None.

    They have to be of one kind and name the same numbers; their answers, and what is left of their
    prompts without the sentences that they share, have to be similar.
    """
    if first.is_question != second.is_question or first.numbers != second.numbers:
        return None
    answers = jaccard(shingles(first.answer), shingles(second.answer))
    if answers < threshold:
        return None
    shared = set(first.sentences) & set(second.sentences)
    rests = [
        tuple(word for part in row.sentences if part not in shared for word in part)
        for row in (first, second)
    ]
    prompts = jaccard(shingles(rests[0]), shingles(rests[1]))
    return min(answers, prompts) if prompts >= threshold else None


def shingles(tokens: tuple[str, ...]) -> Shingles:
    """Returns the runs of ``SHINGLE_WORDS`` tokens; of fewer tokens all of them as one."""
    runs = zip(*(tokens[offset:] for offset in range(SHINGLE_WORDS)), strict=False)
    return frozenset(runs) or frozenset([tokens])


def jaccard(first: Shingles, second: Shingles) -> float:
    """Returns the share of common shingles among all."""
    return len(first & second) / len(first | second)
