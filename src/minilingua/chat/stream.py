"""Encodes a stream of conversations, the tokenizer ahead of what makes arrays of its ids.

batch n + 1 ─► encode_texts (threads of the tokenizer, outside the interpreter's lock)
batch n     ─► assemble, and what the caller does with it
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from tokenizers import Encoding

from minilingua.chat.encode import ConversationEncoder
from minilingua.chat.encoded import EncodedBatch, Prepared
from minilingua.core.records import Conversation

BATCH_CHARACTERS = 1 << 18
"""Characters that are encoded together. Threads take turns at each batch, which costs milliseconds;
and the tokenizer keeps some hundred bytes for each token of the two batches at hand."""


def encode_stream(
    encoder: ConversationEncoder, conversations: Iterable[Conversation]
) -> Iterator[EncodedBatch]:
    """Yields the outcomes of all conversations, batch after batch, in their order."""
    with ThreadPoolExecutor(max_workers=1) as ahead:
        pending: deque[tuple[Prepared, Future[list[Encoding]]]] = deque()
        for batch in _batches(conversations):
            prepared = encoder.prepare(batch)
            pending.append((prepared, ahead.submit(encoder.encode_texts, prepared)))
            if len(pending) > 1:
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
