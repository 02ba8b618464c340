"""The token format: what is written comes back, damage is refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.tokens import (
    TextCounts,
    TokenizedConversation,
    open_token_file,
    write_token_file,
)

_ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 69_999), st.booleans()), min_size=1, max_size=9), max_size=6
)


def _conversations(rows: list[list[tuple[int, bool]]]) -> Iterator[TokenizedConversation]:
    for number, row in enumerate(rows):
        yield TokenizedConversation(
            id=f"{2**63 + number:016x}",
            tokens=np.array([token for token, _ in row], dtype=np.uint32),
            loss_mask=np.array([mask for _, mask in row], dtype=np.uint8),
            source=("aya", "exams", "")[number % 3],
        )


@pytest.mark.parametrize(("vocab_size", "width"), [(1 << 16, 2), ((1 << 16) + 1, 4)])
def test_the_largest_token_fits(tmp_path: Path, vocab_size: int, width: int) -> None:
    write_token_file(
        tmp_path / "en",
        _conversations([[(vocab_size - 1, True)]]),
        vocab_size=vocab_size,
        tokenizer_digest="d",
    )
    file = open_token_file(tmp_path / "en")
    assert file.tokens.tolist() == [vocab_size - 1]
    assert file.tokens.dtype.itemsize == width


@settings(max_examples=40)
@given(rows=_ROWS)
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[tuple[int, bool]]]
) -> None:
    path = tmp_path_factory.mktemp("tokens") / "en"
    assert write_token_file(
        path, _conversations(rows), vocab_size=70_000, tokenizer_digest="d"
    ) == len(rows)
    file = open_token_file(path)
    assert len(file) == len(rows)
    for expected, row in zip(_conversations(rows), range(len(rows)), strict=True):
        found = file[row]
        assert found.id == expected.id
        assert found.tokens.tolist() == expected.tokens.tolist()
        assert found.loss_mask.tolist() == expected.loss_mask.tolist()
        assert found.source == expected.source


def test_small_vocabularies_take_two_bytes(tmp_path: Path) -> None:
    rows = [[(4095, True)] * 10]
    write_token_file(tmp_path / "en", _conversations(rows), vocab_size=4096, tokenizer_digest="d")
    assert (tmp_path / "en" / "tokens.bin").stat().st_size == 20


@pytest.mark.parametrize(
    "name", ["tokens.bin", "loss_mask.bin", "offsets.bin", "ids.bin", "sources.bin"]
)
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "en"
    write_token_file(
        path, _conversations([[(1, True)] * 5] * 3), vocab_size=9, tokenizer_digest="d"
    )
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[:-1])
    with pytest.raises(DataError, match=rf"{name} has {len(data) - 1} bytes"):
        open_token_file(path)


def test_a_missing_language_names_the_stage(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="minilingua tokenize"):
        open_token_file(tmp_path / "fi")


def test_what_was_counted_of_each_source_comes_back(tmp_path: Path) -> None:
    counts: dict[str, TextCounts] = {}

    def conversations() -> Iterator[TokenizedConversation]:
        for conversation in _conversations([[(1, True)]] * 4):
            count = counts.setdefault(conversation.source, TextCounts())
            count.words += 2
            count.text_tokens += 3
            count.truncated += conversation.source == "exams"
            yield conversation

    write_token_file(
        tmp_path / "en", conversations(), vocab_size=9, tokenizer_digest="d", counts=counts
    )
    file = open_token_file(tmp_path / "en")
    assert file.source_names == ("aya", "exams", "")
    assert file.sources.tolist() == [0, 1, 2, 0]
    assert file.counts == {
        "aya": TextCounts(words=4, text_tokens=6),
        "exams": TextCounts(words=2, text_tokens=3, truncated=1),
        "": TextCounts(words=2, text_tokens=3),
    }


def test_a_source_that_is_not_told_of_is_refused(tmp_path: Path) -> None:
    write_token_file(
        tmp_path / "en", _conversations([[(1, True)]] * 3), vocab_size=9, tokenizer_digest="d"
    )
    np.array([0, 3, 1], dtype="<u2").tofile(tmp_path / "en/sources.bin")
    with pytest.raises(DataError, match=r"sources\.bin contradicts meta\.json"):
        open_token_file(tmp_path / "en")


def test_another_version_is_refused(tmp_path: Path) -> None:
    write_token_file(
        tmp_path / "en", _conversations([[(1, True)]]), vocab_size=9, tokenizer_digest="d"
    )
    meta = tmp_path / "en/meta.json"
    meta.write_text(meta.read_text().replace('"format_version": 2', '"format_version": 1'))
    with pytest.raises(DataError, match=r"format_version is 1, this code reads 2; run `dvc repro"):
        open_token_file(tmp_path / "en")
