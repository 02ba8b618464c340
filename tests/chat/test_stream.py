from collections.abc import Iterator
from pathlib import Path

import numpy as np
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
KEPT = [*conversations("fi"), *conversations("el")]


@pytest.fixture(scope="module")
def encoder(workspace: Path) -> ConversationEncoder:
    return ConversationEncoder(read_tokenizer_files(workspace / "models/tokenizer"))


AT_ONCE = stream.BATCH_CHARACTERS


@pytest.mark.parametrize("characters", [1, 100, 1000, AT_ONCE])
def test_every_conversation_in_its_order_as_it_is_alone(
    encoder: ConversationEncoder, monkeypatch: pytest.MonkeyPatch, characters: int
) -> None:
    monkeypatch.setattr(stream, "BATCH_CHARACTERS", characters)
    batches = list(encode_stream(encoder, iter(ITEMS)))
    assert (len(batches) == 1) == (characters == AT_ONCE)
    assert [item for batch in batches for item in batch.kept] == KEPT
    assert [pair for batch in batches for pair in batch.dropped] == [
        (ITEMS[len(conversations("fi"))], "turns_do_not_alternate")
    ]
    for batch in filter(lambda one: one.kept, batches):
        ends = np.cumsum(batch.lengths)[:-1]
        rows = (np.split(batch.tokens, ends), np.split(batch.loss_mask, ends), batch.text_tokens)
        for item, tokens, mask, text_tokens in zip(batch.kept, *rows, strict=True):
            alone = encoder.encode(item)
            assert alone.conversation is not None
            assert tokens.tolist() == alone.conversation.tokens.tolist()
            assert mask.tolist() == alone.conversation.loss_mask.tolist()
            assert text_tokens == alone.text_tokens


def test_nothing_gives_nothing(encoder: ConversationEncoder) -> None:
    assert list(encode_stream(encoder, [])) == []


def test_an_error_of_the_source_reaches_the_caller(
    encoder: ConversationEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Iterator[Conversation]:
        yield from ITEMS[:5]
        raise DataError("line 6")

    monkeypatch.setattr(stream, "BATCH_CHARACTERS", 100)
    with pytest.raises(DataError, match="line 6"):
        list(encode_stream(encoder, broken()))
