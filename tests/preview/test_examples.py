from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from minilingua.core.tokenizer_files import read_tokenizer_files
from minilingua.core.tokens import open_token_file, write_token_file
from minilingua.preview.examples import pieces, preview_language
from tests.preview.conftest import LANGUAGES


@pytest.fixture(scope="session")
def tokenizer(tokenized: Path) -> Tokenizer:
    return read_tokenizer_files(tokenized / "models/tokenizer").tokenizer


@pytest.mark.parametrize("language", LANGUAGES)
def test_pieces_are_the_conversation_with_its_mask(
    tokenized: Path, tokenizer: Tokenizer, language: str
) -> None:
    file = open_token_file(tokenized / "data/tokens/train" / language)
    for conversation in map(file.__getitem__, range(len(file))):
        ids, mask = conversation.tokens.tolist(), conversation.loss_mask.tolist()
        found = list(pieces(ids, mask, tokenizer))
        assert [token for piece in found for token in piece.ids] == ids
        assert [piece.supervised for piece in found for _ in piece.ids] == list(map(bool, mask))
        assert "".join(piece.text for piece in found) == tokenizer.decode(
            ids, skip_special_tokens=False
        )
        assert (found[0].special, found[0].text) == (True, "<|begin|>")


@given(text=st.text(max_size=40), cut=st.integers(0, 60))
def test_any_text_is_shown_whole_and_no_mark_spreads(
    tokenizer: Tokenizer, text: str, cut: int
) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    mask = [int(place >= cut) for place in range(len(ids))]
    found = list(pieces(ids, mask, tokenizer))
    assert [token for piece in found for token in piece.ids] == ids
    assert [piece.supervised for piece in found for _ in piece.ids] == list(map(bool, mask))
    if all(piece.text.isprintable() and "\ufffd" not in piece.text for piece in found):
        assert "".join(piece.text for piece in found) == tokenizer.decode(
            ids, skip_special_tokens=False
        )


def test_examples_are_the_same_whatever_else_there_is(
    tokenized: Path, tokenizer: Tokenizer
) -> None:
    def ids(per_source: int) -> list[str]:
        (one,) = preview_language(tokenized / "data/tokens", "train", "de", tokenizer, per_source)
        return [example.id for example in one.examples]

    assert len(ids(1)) == 1
    assert ids(3)[:1] == ids(1)
    assert len(set(ids(3))) == 3


def test_counts_are_those_of_the_token_file(tokenized: Path, tokenizer: Tokenizer) -> None:
    tokens = tokenized / "data/tokens"
    for language in LANGUAGES:
        file = open_token_file(tokens / "train" / language)
        found = list(preview_language(tokens, "train", language, tokenizer, 1))
        assert sum(one.conversations for one in found) == len(file)
        assert sum(one.tokens for one in found) == len(file.tokens)
        assert sum(one.supervised_tokens for one in found) == int(file.loss_mask.sum())


def test_a_language_without_conversations_has_no_source(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    write_token_file(tmp_path / "train/de", [], vocab_size=900, tokenizer_digest="t")
    assert list(preview_language(tmp_path, "train", "de", tokenizer, 1)) == []
