"""Encodes a stream of conversations, the tokenizer ahead of what makes arrays of its ids.

batches n + 1, n + 2 ─► encode_texts (threads of the tokenizer, outside the interpreter's lock)
batch n              ─► assemble, and what the caller does with it
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from tokenizers import Encoding

from minilingua.chat.encode import ConversationEncoder
from minilingua.chat.encoded import EncodedBatch, Prepared
from minilingua.core.records import Conversation

BATCH_CHARACTERS = 1 << 20
"""Characters that are encoded together. The tokenizer's threads wait for each other at the end of
every batch; and it keeps some hundred bytes for each token of the batches at hand."""
_AHEAD = 2
"""Batches that are encoded while another is assembled: the tokenizer's threads go on with one while
texts and ids of the other pass through the interpreter's lock."""


def encode_stream(
    encoder: ConversationEncoder, conversations: Iterable[Conversation]
) -> Iterator[EncodedBatch]:
    """Yields the outcomes of all conversations, batch after batch, in their order."""
    with ThreadPoolExecutor(max_workers=_AHEAD) as ahead:
        pending: deque[tuple[Prepared, Future[list[Encoding]]]] = deque()
        for batch in _batches(conversations):
            prepared = encoder.prepare(batch)
            pending.append((prepared, ahead.submit(encoder.encode_texts, prepared)))
            if len(pending) > _AHEAD:
                yield _assembled(encoder, *pending.popleft())
        while pending:
            yield _assembled(encoder, *pending.popleft())


def _assembled(
    encoder: ConversationEncoder, prepared: Prepared, encodings: Future[list[Encoding]]
) -> EncodedBatch:
    return encoder.assemble(prepared, encodings.result())


def _batches(conversations: Iterable[Conversation]) -> Iterator[list[Conversation]]:
    batch: list[Conversation] = []
    characters = 0
    for conversation in conversations:
        batch.append(conversation)
        characters += sum([len(message.content) for message in conversation.messages])
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
