"""Conversations to token ids and loss masks, in batches.

Contents are encoded with control tokens switched off, so that a text which spells one stays text.
The mask is set by position: the assistant's text and the token that ends its turn are targets,
whatever their ids are.
"""

import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Encoding, Tokenizer

from minilingua.chat.template import TURN_SHAPES, ChatTemplate
from minilingua.chat.tokenizer_files import TEMPLATE_FILE, TokenizerFiles
from minilingua.core.errors import DataError
from minilingua.core.records import Conversation, Message, Role
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
    reason: str = ""
    """Why it was dropped, or an empty string."""
    supervised_tokens: int = 0
    text_tokens: int = 0
    """Tokens without those of the template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Turn:
    """How one turn of a conversation of a certain shape is encoded."""

    lead: tuple[int, ...]
    """Control tokens before its text."""
    prefix: str
    suffix: str
    stripped: bool
    supervised: bool

    def text(self, message: Message) -> str:
        content = message.content.strip() if self.stripped else message.content
        return f"{self.prefix}{content}{self.suffix}" if self.prefix or self.suffix else content


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
        self._space = _space_sign(self._texts)
        if self._space:  # Python replaces spaces sooner than a normalizer that tracks offsets
            self._texts.normalizer = None
        self._shapes: dict[tuple[Role, ...], tuple[_Turn, ...]] = {}
        self._tail = self.template.joints["assistant", None].ids
        self._prefix_ids = {
            joint.prefix: self._encode_text(joint.prefix).ids
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
            turn.text(message)
            for conversation in conversations
            # Nothing is paired, and so nothing encoded, where the turns do not alternate.
            for turn, message in zip(self._turns(conversation), conversation.messages, strict=False)
        ]
        if self._space:
            texts = [text.replace(" ", self._space) for text in texts]
        return self._texts.encode_batch_fast(texts, add_special_tokens=False)

    def token_ends(self, text: str) -> list[int]:
        """Returns where each token of a text ends, in characters."""
        return [end for _, end in self._encode_text(text).offsets]

    def _encode_text(self, text: str) -> Encoding:
        """Encodes one text as ``encode_texts`` does, but with offsets."""
        if self._space:
            text = text.replace(" ", self._space)
        return self._texts.encode(text, add_special_tokens=False)

    def assemble(
        self, conversations: Sequence[Conversation], encodings: Sequence[Encoding]
    ) -> list[Encoded]:
        """Joins what ``encode_texts`` returned for the same conversations."""
        outcomes: list[Encoded] = []
        position = 0
        for conversation in conversations:
            turns = self._turns(conversation)
            outcomes.append(
                self._assemble_one(conversation, turns, encodings[position : position + len(turns)])
                if turns
                else Encoded(conversation=None, reason="turns_do_not_alternate")
            )
            position += len(turns)
        return outcomes

    def _turns(self, conversation: Conversation) -> tuple[_Turn, ...]:
        """Returns how to encode each turn; nothing where the turns do not alternate."""
        roles = tuple([message.role for message in conversation.messages])
        turns = self._shapes.get(roles)
        if turns is None:
            turns = self._shapes[roles] = self._plan(roles) if turns_alternate(roles) else ()
        return turns

    def _plan(self, roles: tuple[Role, ...]) -> tuple[_Turn, ...]:
        joints = self.template.joints
        return tuple(
            _Turn(
                lead=joints[before, role].ids,
                prefix=joints[before, role].prefix,
                suffix=joints[role, after].suffix,
                stripped=role in self.template.stripped,
                supervised=role == "assistant",
            )
            for before, role, after in zip((None, *roles), roles, (*roles[1:], None), strict=False)
        )

    def _assemble_one(
        self, conversation: Conversation, turns: tuple[_Turn, ...], encodings: Sequence[Encoding]
    ) -> Encoded:
        ids: list[int] = []
        targets: list[tuple[int, int]] = []
        text_tokens = supervised = 0
        for number, (turn, encoding) in enumerate(zip(turns, encodings, strict=True)):
            ids += turn.lead
            turn_ids = encoding.ids
            led_by = (
                self._prefix_tokens(turn, turn_ids, conversation.messages[number])
                if turn.prefix
                else 0
            )
            own = len(turn_ids) - led_by
            text_tokens += own
            if turn.supervised and own:
                begin = len(ids) + led_by
                targets.append((begin, begin + own + 1))  # and the end of the turn
                supervised += own + 1
            ids += turn_ids
        ids += self._tail
        if not targets:
            return Encoded(conversation=None, reason="no_supervised_tokens")
        mask = np.zeros(len(ids), dtype=np.uint8)
        for begin, end in targets:
            mask[begin:end] = 1
        return Encoded(
            conversation=TokenizedConversation(
                id=conversation.id,
                # Twice as fast as numpy's own conversion of a list.
                tokens=np.frombuffer(array("I", ids), dtype=np.uint32),
                loss_mask=mask,
                source=conversation.source,
            ),
            supervised_tokens=supervised,
            text_tokens=text_tokens,
        )

    def _prefix_tokens(self, turn: _Turn, ids: Sequence[int], message: Message) -> int:
        """Returns how many tokens of a turn begin in the template's text before its content."""
        known = self._prefix_ids[turn.prefix]
        if ids[: len(known)] == known:
            return len(known)
        # The content's first characters were merged into the prefix: ask where tokens begin.
        offsets = self._encode_text(turn.text(message)).offsets
        return sum(begin < len(turn.prefix) for begin, _ in offsets)


def turns_alternate(roles: Sequence[Role]) -> bool:
    """Whether user and assistant alternate, an assistant last, after an optional system turn."""
    turns = roles[1:] if roles and roles[0] == "system" else roles
    return len(turns) > 0 and tuple(turns) == ("user", "assistant") * (len(turns) // 2)


def _probe_conversations() -> list[tuple[Message, ...]]:
    return [
        tuple(
            Message(role=role, content=_PROBES[(first + turn) % len(_PROBES)])
            for turn, role in enumerate(shape)
        )
        for shape in TURN_SHAPES
        for first in range(len(_PROBES))
    ]


def _space_sign(tokenizer: Tokenizer) -> str:
    """Returns what the normalizer puts for a space, if that one character is all that it does."""
    normalizer = json.loads(tokenizer.to_str())["normalizer"] or {}
    if normalizer.get("type") == "Replace" and normalizer.get("pattern") == {"String": " "}:
        sign = str(normalizer["content"])
        return sign if len(sign) == 1 else ""
    return ""


def _encode_rendered(
    tokenizer: Tokenizer, template: ChatTemplate, messages: Sequence[Message]
) -> list[int]:
    return tokenizer.encode(template.render(messages), add_special_tokens=False).ids
