"""The token format: what is written comes back, damage is refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.tokens import TokenizedConversation, open_token_file, write_token_file

_ROWS = st.lists(
    st.lists(st.tuples(st.integers(0, 69_999), st.booleans()), min_size=1, max_size=9), max_size=6
)


def _conversations(rows: list[list[tuple[int, bool]]]) -> Iterator[TokenizedConversation]:
    for number, row in enumerate(rows):
        yield TokenizedConversation(
            id=f"{2**63 + number:016x}",
            tokens=np.array([token for token, _ in row], dtype=np.uint32),
            loss_mask=np.array([mask for _, mask in row], dtype=np.uint8),
        )


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


def test_small_vocabularies_take_two_bytes(tmp_path: Path) -> None:
    rows = [[(4095, True)] * 10]
    write_token_file(tmp_path / "en", _conversations(rows), vocab_size=4096, tokenizer_digest="d")
    assert (tmp_path / "en" / "tokens.bin").stat().st_size == 20


@pytest.mark.parametrize("name", ["tokens.bin", "loss_mask.bin", "offsets.bin", "ids.bin"])
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
