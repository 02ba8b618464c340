"""Conversations that are too long, cut on the user's side: answers and template stay whole.

Text is cut, not tokens: what comes out is a conversation that is encoded like any other, so that
it holds no token which the tokenizer would not have made.
"""

from collections.abc import Sequence
from dataclasses import replace

from minilingua.chat.encode import ConversationEncoder
from minilingua.chat.encoded import Encoded
from minilingua.core.records import Conversation, Message


def truncate(
    conversation: Conversation, limit: int, encoder: ConversationEncoder
) -> tuple[Conversation, Encoded] | None:
    """Cuts the ends of the longest user turns until a conversation has at most ``limit`` tokens.

    User turns that have more than a certain number of tokens are cut to it. A multiple-choice
    question is never cut: without its options it asks nothing.

    Args:
        conversation: one that has more tokens.
        limit: tokens, those of the template included.
        encoder: what makes tokens of it.

    Returns:
        The cut conversation and what it is encoded to; None where it must not be cut, or nothing
        would be left of a user turn.
    """
    if conversation.choice is not None:
        return None
    ends = [
        encoder.token_ends(message.content) if message.role == "user" else []
        for message in conversation.messages
    ]
    sizes = [len(turn) for turn in ends]
    encoded = encoder.encode(conversation)
    budget = sum(sizes)
    cut = conversation
    while encoded.conversation is not None and len(encoded.conversation.tokens) > limit:
        budget -= len(encoded.conversation.tokens) - limit
        cap = _cap(sizes, budget)
        if cap < 1:
            return None
        messages = tuple(
            _cut(message, turn, cap)
            for message, turn in zip(conversation.messages, ends, strict=True)
        )
        if not all(message.content for message in messages):
            return None
        cut = replace(conversation, messages=messages)
        encoded = encoder.encode(cut)
    return cut, encoded


def _cap(sizes: Sequence[int], budget: int) -> int:
    """Returns the most that each may keep so that all together keep at most ``budget``."""
    for count, size in enumerate(sorted(sizes)):
        share = budget // (len(sizes) - count)
        if size > share:
            return share
        budget -= size
    return max(sizes)


def _cut(message: Message, ends: Sequence[int], cap: int) -> Message:
    if len(ends) <= cap:
        return message
    return replace(message, content=message.content[: ends[cap - 1]].rstrip())
