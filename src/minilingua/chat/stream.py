"""Encodes a stream of conversations, the tokenizer one batch ahead.

batch n + 1 ─► encode_texts (threads of the tokenizer, outside the interpreter's lock)
batch n     ─► assemble, and what the caller does with it
"""

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from minilingua.chat.encode import ConversationEncoder, Encoded
from minilingua.core.records import Conversation

BATCH = 512
"""Conversations that are encoded together."""


def encode_stream(
    encoder: ConversationEncoder, conversations: Iterable[Conversation]
) -> Iterator[tuple[Conversation, Encoded]]:
    """Yields each conversation with its outcome, in their order."""
    with ThreadPoolExecutor(max_workers=1) as ahead:
        batches = _batches(iter(conversations))
        batch = next(batches, None)
        pending = ahead.submit(encoder.encode_texts, batch) if batch else None
        while batch and pending:
            following = next(batches, None)
            encodings = pending.result()
            pending = ahead.submit(encoder.encode_texts, following) if following else None
            yield from zip(batch, encoder.assemble(batch, encodings), strict=True)
            batch = following


def _batches(conversations: Iterator[Conversation]) -> Iterator[list[Conversation]]:
    while batch := list(itertools.islice(conversations, BATCH)):
        yield batch
