from collections.abc import Iterator
from pathlib import Path

import pytest

from minilingua.chat import stream
from minilingua.chat.encode import ConversationEncoder
from minilingua.chat.stream import encode_stream
from minilingua.core.errors import DataError
from minilingua.core.records import Conversation
from minilingua.core.tokenizer_files import read_tokenizer_files
from tests.chat.corpus import conversation, conversations

ITEMS = [
    *conversations("fi"),
    conversation(("assistant", "first"), ("user", "second")),
    *conversations("el"),
]


@pytest.fixture(scope="module")
def encoder(workspace: Path) -> ConversationEncoder:
    return ConversationEncoder(read_tokenizer_files(workspace / "models/tokenizer"))


@pytest.mark.parametrize("batch", [1, 3, len(ITEMS), 1000])
def test_every_conversation_in_its_order_with_its_own_outcome(
    encoder: ConversationEncoder, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(stream, "BATCH", batch)
    pairs = list(encode_stream(encoder, iter(ITEMS)))
    assert [item for item, _ in pairs] == ITEMS
    for item, outcome in pairs:
        (alone,) = encoder.encode([item])
        assert outcome.reason == alone.reason
        assert outcome.supervised_tokens == alone.supervised_tokens
        assert outcome.text_tokens == alone.text_tokens
        if alone.conversation is None:
            assert outcome.conversation is None
        else:
            assert outcome.conversation is not None
            assert outcome.conversation.id == item.id
            assert outcome.conversation.tokens.tolist() == alone.conversation.tokens.tolist()
            assert outcome.conversation.loss_mask.tolist() == alone.conversation.loss_mask.tolist()


def test_nothing_gives_nothing(encoder: ConversationEncoder) -> None:
    assert list(encode_stream(encoder, [])) == []


def test_an_error_of_the_source_reaches_the_caller(
    encoder: ConversationEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[Conversation]:
        yield from ITEMS[:5]
        raise DataError("line 6")

    monkeypatch.setattr(stream, "BATCH", 2)
    with pytest.raises(DataError, match="line 6"):
        list(encode_stream(encoder, broken()))
