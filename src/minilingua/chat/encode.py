"""Conversations to token ids and loss masks, in batches.

Contents are encoded with control tokens switched off, so that a text which spells one stays text.
The mask is set by position: the assistant's text and the token that ends its turn are targets,
whatever their ids are.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from minilingua.chat.template import TURN_SHAPES, ChatTemplate
from minilingua.core.errors import DataError
from minilingua.core.records import Conversation, Message, Role
from minilingua.core.tokenizer_files import TEMPLATE_FILE, TokenizerFiles
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

    number: int
    """Index among the encoder's turns."""
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
        self._known: list[_Turn] = []
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

    def _encode_text(self, text: str) -> Encoding:
        """Encodes one text as ``encode_texts`` does, but with offsets."""
        if self._space:
            text = text.replace(" ", self._space)
        return self._texts.encode(text, add_special_tokens=False)

    def assemble(
        self, conversations: Sequence[Conversation], encodings: Sequence[Encoding]
    ) -> list[Encoded]:
        """Joins what ``encode_texts`` returned for the same conversations."""
        shapes = [self._turns(conversation) for conversation in conversations]
        alternating = [pair for pair in zip(conversations, shapes, strict=True) if pair[1]]
        joined = iter(self._join(alternating, [encoding.ids for encoding in encodings]))
        return [
            next(joined) if turns else Encoded(conversation=None, reason="turns_do_not_alternate")
            for turns in shapes
        ]

    def _turns(self, conversation: Conversation) -> tuple[_Turn, ...]:
        """Returns how to encode each turn; nothing where the turns do not alternate."""
        roles = tuple([message.role for message in conversation.messages])
        turns = self._shapes.get(roles)
        if turns is None:
            turns = self._shapes[roles] = self._plan(roles) if turns_alternate(roles) else ()
        return turns

    def _plan(self, roles: tuple[Role, ...]) -> tuple[_Turn, ...]:
        joints = self.template.joints
        known = len(self._known)
        self._known += [
            _Turn(
                number=number,
                lead=joints[before, role].ids,
                prefix=joints[before, role].prefix,
                suffix=joints[role, after].suffix,
                stripped=role in self.template.stripped,
                supervised=role == "assistant",
            )
            for number, (before, role, after) in enumerate(
                zip((None, *roles), roles, (*roles[1:], None), strict=False), start=known
            )
        ]
        return tuple(self._known[known:])

    def _join(
        self,
        conversations: Sequence[tuple[Conversation, tuple[_Turn, ...]]],
        texts: Sequence[Sequence[int]],
    ) -> list[Encoded]:
        """Lays out a batch in one array, a few numpy calls for all turns together.

        Args:
            conversations: each with its turns.
            texts: the ids of each turn's text, of all conversations one after the other.

        Shape legend: c conversations, n turns, w text tokens, t all tokens.
        """
        if not conversations:
            return []
        turns = [turn for _, own in conversations for turn in own]
        kind = np.fromiter((turn.number for turn in turns), np.int64, len(turns))  # [n]
        size = np.fromiter(map(len, texts), np.int64, len(texts))  # [n]
        last = np.cumsum([len(own) for _, own in conversations]) - 1  # [c]
        first = np.concatenate([[0], last[:-1] + 1])  # [c]
        lead = np.array([len(turn.lead) for turn in self._known])[kind]  # [n]
        extent = lead + size
        extent[last] += len(self._tail)
        end = np.cumsum(extent)  # [n]
        text_begin = end - extent + lead  # [n]

        tokens = np.empty(end[-1], dtype=np.uint32)  # [t]
        for index in np.unique(kind):
            _put(tokens, (end - extent)[kind == index], self._known[index].lead)
        _put(tokens, end[last] - len(self._tail), self._tail)
        shift = text_begin - np.cumsum(size) + size
        source = np.fromiter(itertools.chain.from_iterable(texts), np.uint32, int(size.sum()))
        tokens[np.arange(len(source)) + np.repeat(shift, size)] = source

        led_by = self._led_by(conversations, turns, texts)  # [n]
        own = size - led_by
        is_supervised = np.array([turn.supervised for turn in self._known])[kind]  # [n]
        targets = np.flatnonzero(is_supervised & (own > 0))
        edges = np.zeros(len(tokens) + 1, dtype=np.int8)
        edges[(text_begin + led_by)[targets]] += 1
        edges[(text_begin + size)[targets] + 1] -= 1  # after the end of the turn
        mask = np.cumsum(edges[:-1], dtype=np.int8).view(np.uint8)  # [t]
        supervised = np.zeros(len(turns), dtype=np.int64)
        supervised[targets] = own[targets] + 1
        return [
            Encoded(
                conversation=TokenizedConversation(
                    id=conversation.id, tokens=tokens[begin:stop], loss_mask=mask[begin:stop]
                ),
                supervised_tokens=targets_of_it,
                text_tokens=text_tokens,
            )
            if targets_of_it
            else Encoded(conversation=None, reason="no_supervised_tokens")
            for (conversation, _), begin, stop, targets_of_it, text_tokens in zip(
                conversations,
                (end - extent)[first].tolist(),
                end[last].tolist(),
                np.add.reduceat(supervised, first).tolist(),
                np.add.reduceat(own, first).tolist(),
                strict=True,
            )
        ]

    def _led_by(
        self,
        conversations: Sequence[tuple[Conversation, tuple[_Turn, ...]]],
        turns: Sequence[_Turn],
        texts: Sequence[Sequence[int]],
    ) -> npt.NDArray[np.int64]:
        """Returns [n] how many tokens of a turn's text are the template's, before its content."""
        led_by = np.zeros(len(turns), dtype=np.int64)
        if any(self._prefix_ids):
            messages = (message for item, _ in conversations for message in item.messages)
            for index, (turn, message) in enumerate(zip(turns, messages, strict=True)):
                if turn.prefix:
                    led_by[index] = self._prefix_tokens(turn, texts[index], message)
        return led_by

    def _prefix_tokens(self, turn: _Turn, ids: Sequence[int], message: Message) -> int:
        """Returns how many tokens of a turn begin in the template's text before its content."""
        known = self._prefix_ids[turn.prefix]
        if ids[: len(known)] == known:
            return len(known)
        # The content's first characters were merged into the prefix: ask where tokens begin.
        offsets = self._encode_text(turn.text(message)).offsets
        return sum(begin < len(turn.prefix) for begin, _ in offsets)


def _put(target: npt.NDArray[np.uint32], places: npt.NDArray[np.int64], ids: Sequence[int]) -> None:
    """Writes the same ids at every place."""
    for offset, token in enumerate(ids):
        target[places + offset] = token


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
