from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minilingua.curation.hashing import hash_runs, hash_words

LINES = st.lists(
    st.lists(st.text("abcαβ²", min_size=1, max_size=6), max_size=8).map(" ".join), max_size=12
)


def encode(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


@given(LINES)
def test_equal_words_have_equal_hashes_and_others_do_not(lines: list[str]) -> None:
    found = hash_words(encode(lines))
    words = [(row, word) for row, line in enumerate(lines) for word in line.split()]
    assert found.rows.tolist() == [row for row, _ in words]
    assert len(found.hashes) == len(words)
    by_word = dict(zip([word for _, word in words], found.hashes.tolist(), strict=True))
    assert [by_word[word] for _, word in words] == found.hashes.tolist()
    assert len(set(by_word.values())) == len(by_word)


@given(LINES, st.integers(1, 4))
def test_runs_lie_within_a_row(lines: list[str], length: int) -> None:
    words = hash_words(encode(lines))
    hashes, starts = hash_runs(words, length)
    spoken = [word for line in lines for word in line.split()]
    runs = [tuple(spoken[start : start + length]) for start in starts]
    expected = [
        run
        for line in lines
        for run in zip(*(line.split()[offset:] for offset in range(length)), strict=False)
    ]
    assert runs == expected
    assert len(set(hashes.tolist())) == len(set(runs))
    assert Counter(hashes.tolist()).most_common(1)[:1] == [] or (
        Counter(hashes.tolist()).most_common(1)[0][1] == Counter(runs).most_common(1)[0][1]
    )


def test_a_hash_does_not_depend_on_where_the_word_stands() -> None:
    alone = hash_words(b"word\n").hashes[0]
    many = hash_words(b"x " * 70_000 + b"word\n").hashes[-1]
    assert alone == many


def plain_hash(word: str) -> int:
    """Returns the hash of one word as its definition has it, in Python's whole numbers."""
    base, mask = 0x9E3779B97F4A7C15, (1 << 64) - 1
    total = sum((byte + 1) * base**place for place, byte in enumerate(word.encode())) & mask
    total ^= total >> 31
    total = total * 0xBF58476D1CE4E5B9 & mask
    return int(total ^ total >> 31)


@given(LINES)
def test_hashes_are_those_of_the_definition(lines: list[str]) -> None:
    """And so the same everywhere: which rows are compared depends on them."""
    found = hash_words(encode(lines)).hashes.tolist()
    assert found == [plain_hash(word) for line in lines for word in line.split()]


def test_hashes_are_spread_evenly() -> None:
    found = hash_words("".join(f"w{number} " for number in range(1 << 14)).encode() + b"\n")
    assert len(set(found.hashes.tolist())) == 1 << 14
    shares = np.bincount((found.hashes >> np.uint64(56)).astype(np.int64), minlength=256)
    assert shares.min() > 20
    assert shares.max() < 120
    assert all(first != second for first, second in pairwise(found.hashes.tolist()))
