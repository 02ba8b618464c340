"""Conversations to token ids and loss masks, in batches.

Contents are encoded with control tokens switched off, so that a text which spells one stays text.
The mask is set by position: the assistant's text and the token that ends its turn are targets,
whatever their ids are.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding, Tokenizer

from minilingua.chat.template import TURN_SHAPES, ChatTemplate
from minilingua.chat.tokenizer_files import TEMPLATE_FILE, TokenizerFiles
from minilingua.core.errors import DataError
from minilingua.core.records import Conversation, Message
from minilingua.core.tokens import TokenizedConversation

_PROBES = (
    "one two",
    " led and ended by spaces ",
    "\nlines\n\nand lines\n",
    "12345 + 6,78",
    "Füße, żółw, яйце, ήλιος, 😀",
    "    if x:\n\treturn",
    "!",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """The outcome for one conversation."""

    conversation: TokenizedConversation | None
    """None where it was dropped."""
    reason: str
    """Why it was dropped, or an empty string."""
    text_tokens: int
    """Tokens without those of the template."""


class ConversationEncoder:
    """Encodes conversations with one tokenizer and its chat template."""

    def __init__(self, files: TokenizerFiles) -> None:
        """Takes the template apart and checks the result against tokenizing rendered text.

        Raises:
            DataError: see ``ChatTemplate``; or the two ways give different ids.
        """
        self.template = ChatTemplate(files)
        expected = [
            (messages, _encode_rendered(files.tokenizer, self.template, messages))
            for messages in _probe_conversations()
        ]
        self._texts = Tokenizer.from_str(files.tokenizer.to_str())
        self._texts.encode_special_tokens = True
        self._prefix_ids = {
            joint.prefix: self._texts.encode(joint.prefix, add_special_tokens=False).ids
            for joint in self.template.joints.values()
        }
        for messages, ids in expected:
            probe = Conversation(
                id="0", key="", source="", language="", task="instruction", messages=messages
            )
            found = self.encode([probe])[0].conversation
            if found is None or found.tokens.tolist() != ids:
                raise DataError(
                    f"{files.path / TEMPLATE_FILE}: template and tokenizer do not bound contents "
                    f"cleanly: {messages[0].content!r} has other ids alone than in its turn"
                )

    def encode(self, conversations: Sequence[Conversation]) -> list[Encoded]:
        """Encodes a batch; one outcome per conversation, in their order."""
        return self.assemble(conversations, self.encode_texts(conversations))

    def encode_texts(self, conversations: Sequence[Conversation]) -> list[Encoding]:
        """Encodes all contents of a batch; the part that runs in the tokenizer's threads."""
        texts = [
            text
            for conversation in conversations
            if turns_alternate(conversation.messages)
            for text in self._turn_texts(conversation.messages)
        ]
        return self._texts.encode_batch_fast(texts, add_special_tokens=False)

    def assemble(
        self, conversations: Sequence[Conversation], encodings: Sequence[Encoding]
    ) -> list[Encoded]:
        """Joins what ``encode_texts`` returned for the same conversations."""
        outcomes: list[Encoded] = []
        position = 0
        for conversation in conversations:
            if not turns_alternate(conversation.messages):
                outcomes.append(
                    Encoded(conversation=None, reason="turns_do_not_alternate", text_tokens=0)
                )
                continue
            turns = encodings[position : position + len(conversation.messages)]
            position += len(turns)
            outcomes.append(self._assemble_one(conversation, turns))
        return outcomes

    def _turn_texts(self, messages: Sequence[Message]) -> list[str]:
        joints, stripped = self.template.joints, self.template.stripped
        places = [None, *(message.role for message in messages), None]
        return [
            joints[places[turn], message.role].prefix
            + (message.content.strip() if message.role in stripped else message.content)
            + joints[message.role, places[turn + 2]].suffix
            for turn, message in enumerate(messages)
        ]

    def _assemble_one(self, conversation: Conversation, encodings: Sequence[Encoding]) -> Encoded:
        joints = self.template.joints
        ids: list[int] = []
        targets: list[tuple[int, int]] = []
        text_tokens = 0
        before = None
        for turn, (message, encoding) in enumerate(
            zip(conversation.messages, encodings, strict=True)
        ):
            joint = joints[before, message.role]
            ids += joint.ids
            turn_ids = encoding.ids
            led_by = self._prefix_tokens(joint.prefix, turn_ids, conversation, turn)
            text_tokens += len(turn_ids) - led_by
            if message.role == "assistant" and len(turn_ids) > led_by:
                begin = len(ids) + led_by
                targets.append((begin, len(ids) + len(turn_ids) + 1))  # and the end of the turn
            ids += turn_ids
            before = message.role
        ids += joints[before, None].ids
        if not targets:
            return Encoded(conversation=None, reason="no_supervised_tokens", text_tokens=0)
        mask = np.zeros(len(ids), dtype=np.uint8)
        for begin, end in targets:
            mask[begin:end] = 1
        tokenized = TokenizedConversation(
            id=conversation.id, tokens=np.array(ids, dtype=np.uint32), loss_mask=mask
        )
        return Encoded(conversation=tokenized, reason="", text_tokens=text_tokens)

    def _prefix_tokens(
        self, prefix: str, ids: Sequence[int], conversation: Conversation, turn: int
    ) -> int:
        """Returns how many tokens of a turn begin in the template's text before its content."""
        if not prefix:
            return 0
        known = self._prefix_ids[prefix]
        if ids[: len(known)] == known:
            return len(known)
        # The content's first characters were merged into the prefix: ask where tokens begin.
        text = self._turn_texts(conversation.messages)[turn]
        offsets = self._texts.encode(text, add_special_tokens=False).offsets
        return sum(begin < len(prefix) for begin, _ in offsets)


def turns_alternate(messages: Sequence[Message]) -> bool:
    """Whether user and assistant alternate, an assistant last, after an optional system turn."""
    first = 1 if messages and messages[0].role == "system" else 0
    turns = messages[first:]
    return (
        len(turns) > 0
        and len(turns) % 2 == 0
        and all(message.role == "user" for message in turns[::2])
        and all(message.role == "assistant" for message in turns[1::2])
    )


def _probe_conversations() -> list[tuple[Message, ...]]:
    return [
        tuple(
            Message(role=role, content=_PROBES[(first + turn) % len(_PROBES)])
            for turn, role in enumerate(shape)
        )
        for shape in TURN_SHAPES
        for first in range(len(_PROBES))
    ]


def _encode_rendered(
    tokenizer: Tokenizer, template: ChatTemplate, messages: Sequence[Message]
) -> list[int]:
    return tokenizer.encode(template.render(messages), add_special_tokens=False).ids
