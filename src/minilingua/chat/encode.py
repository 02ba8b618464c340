"""Conversations to token ids and loss masks, in batches.

Contents are encoded with control tokens switched off, so that a text which spells one stays text.
The mask is set by position: the assistant's text and the token that ends its turn are targets,
whatever their ids are.
"""

import itertools
import json
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from minilingua.chat.encoded import Encoded, EncodedBatch, Prepared
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
        self._shapes: dict[tuple[Role, ...], tuple[int, ...]] = {}
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
            found = self.encode(probe).conversation
            if found is None or found.tokens.tolist() != ids:
                raise DataError(
                    f"{files.path / TEMPLATE_FILE}: template and tokenizer do not bound contents "
                    f"cleanly: {messages[0].content!r} has other ids alone than in its turn"
                )

    def encode(self, conversation: Conversation) -> Encoded:
        """Encodes one conversation."""
        batch = self.encode_batch([conversation])
        if batch.dropped:
            return Encoded(conversation=None, reason=batch.dropped[0][1])
        return Encoded(
            conversation=TokenizedConversation(
                id=conversation.id,
                tokens=batch.tokens,
                loss_mask=batch.loss_mask,
                source=conversation.source,
            ),
            text_tokens=int(batch.text_tokens[0]),
        )

    def encode_batch(self, conversations: Sequence[Conversation]) -> EncodedBatch:
        """Encodes several conversations at once."""
        prepared = self.prepare(conversations)
        return self.assemble(prepared, self.encode_texts(prepared))

    def prepare(self, conversations: Sequence[Conversation]) -> Prepared:
        """Gathers the texts of a batch."""
        turns = [self._turns(conversation) for conversation in conversations]
        dropped = []
        if not all(turns):
            both = list(zip(conversations, turns, strict=True))
            dropped = [(item, "turns_do_not_alternate") for item, own in both if not own]
            conversations = [item for item, own in both if own]
            turns = [own for own in turns if own]
        if any(turn.prefix or turn.suffix or turn.stripped for turn in self._known):
            texts = [
                self._known[turn].text(message)
                for conversation, own in zip(conversations, turns, strict=True)
                for turn, message in zip(own, conversation.messages, strict=True)
            ]
        else:  # a third of the time, and all that the sample's template asks for
            texts = [message.content for item in conversations for message in item.messages]
        if self._space:
            texts = [text.replace(" ", self._space) for text in texts]
        return Prepared(conversations=conversations, dropped=dropped, turns=turns, texts=texts)

    def encode_texts(self, prepared: Prepared) -> list[Encoding]:
        """Encodes the texts of a batch: all of it is done in the tokenizer's threads."""
        return self._texts.encode_batch_fast(prepared.texts, add_special_tokens=False)

    def token_ends(self, text: str) -> list[int]:
        """Returns where each token of a text ends, in characters."""
        return [end for _, end in self._encode_text(text).offsets]

    def _encode_text(self, text: str) -> Encoding:
        """Encodes one text as ``encode_texts`` does, but with offsets."""
        if self._space:
            text = text.replace(" ", self._space)
        return self._texts.encode(text, add_special_tokens=False)

    def _turns(self, conversation: Conversation) -> tuple[int, ...]:
        """Returns how to encode each turn; nothing where the turns do not alternate."""
        roles = tuple([message.role for message in conversation.messages])
        turns = self._shapes.get(roles)
        if turns is None:
            turns = self._shapes[roles] = self._plan(roles) if turns_alternate(roles) else ()
        return turns

    def _plan(self, roles: tuple[Role, ...]) -> tuple[int, ...]:
        joints = self.template.joints
        known = len(self._known)
        self._known += [
            _Turn(
                lead=joints[before, role].ids,
                prefix=joints[before, role].prefix,
                suffix=joints[role, after].suffix,
                stripped=role in self.template.stripped,
                supervised=role == "assistant",
            )
            for before, role, after in zip((None, *roles), roles, (*roles[1:], None), strict=False)
        ]
        return tuple(range(known, len(self._known)))

    def assemble(self, prepared: Prepared, encodings: Sequence[Encoding]) -> EncodedBatch:
        """Lays out a batch in one array, a few numpy calls for all turns together.

        Args:
            prepared: the batch.
            encodings: what ``encode_texts`` returned for it.

        Shape legend: c conversations, n turns, w text tokens, t all tokens.
        """
        source = _all_ids(encodings)  # [w]
        size = np.fromiter(map(len, encodings), np.int64, len(encodings))  # [n]
        turns = prepared.turns
        kind = np.fromiter(itertools.chain.from_iterable(turns), np.int64, len(size))  # [n]
        count = np.fromiter(map(len, turns), np.int64, len(turns))  # [c]
        last = np.cumsum(count) - 1  # [c]
        lead = np.array([len(turn.lead) for turn in self._known])[kind]  # [n]
        extent = lead + size
        extent[last] += len(self._tail)
        end = np.cumsum(extent)  # [n]
        begin = end - extent
        text_begin = begin + lead

        tokens = np.empty(extent.sum(), dtype=np.uint32)  # [t]
        for index in np.unique(kind):
            _put(tokens, begin[kind == index], self._known[index].lead)
        _put(tokens, end[last] - len(self._tail), self._tail)
        shift = text_begin - np.cumsum(size) + size
        tokens[np.arange(len(source)) + np.repeat(shift, size)] = source

        led_by = self._led_by(prepared, source, size)  # [n]
        own = size - led_by
        is_target = np.array([turn.supervised for turn in self._known])[kind] & (own > 0)  # [n]
        edges = np.zeros(len(tokens) + 1, dtype=np.int8)
        edges[(text_begin + led_by)[is_target]] += 1
        edges[(text_begin + size)[is_target] + 1] -= 1  # after the end of the turn
        mask = np.cumsum(edges[:-1], dtype=np.int8).view(np.uint8)  # [t]
        batch = EncodedBatch(
            kept=prepared.conversations,
            dropped=prepared.dropped,
            lengths=_sums(extent, count),
            tokens=tokens,
            loss_mask=mask,
            text_tokens=_sums(own, count),
        )
        return batch.only(_sums(is_target, count) > 0, otherwise="no_supervised_tokens")

    def _led_by(
        self,
        prepared: Prepared,
        source: npt.NDArray[np.uint32],
        size: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.int64]:
        """Returns [n] how many tokens of a turn's text are the template's, before its content."""
        led_by = np.zeros(len(size), dtype=np.int64)
        if any(self._prefix_ids):
            begin = np.cumsum(size) - size
            turns = (self._known[number] for own in prepared.turns for number in own)
            messages = (message for item in prepared.conversations for message in item.messages)
            for index, (turn, message) in enumerate(zip(turns, messages, strict=True)):
                if turn.prefix:
                    ids = source[begin[index] : begin[index] + size[index]]
                    led_by[index] = self._prefix_tokens(turn, ids, message)
        return led_by

    def _prefix_tokens(self, turn: _Turn, ids: npt.NDArray[np.uint32], message: Message) -> int:
        """Returns how many tokens of a turn begin in the template's text before its content."""
        known = self._prefix_ids[turn.prefix]
        if ids[: len(known)].tolist() == known:
            return len(known)
        # The content's first characters were merged into the prefix: ask where tokens begin.
        offsets = self._encode_text(turn.text(message)).offsets
        return sum(begin < len(turn.prefix) for begin, _ in offsets)


def _put(target: npt.NDArray[np.uint32], places: npt.NDArray[np.int64], ids: Sequence[int]) -> None:
    """Writes the same ids at every place."""
    for offset, token in enumerate(ids):
        target[places + offset] = token


def _all_ids(encodings: Sequence[Encoding]) -> npt.NDArray[np.uint32]:
    """Returns the ids of all texts one after the other.

    An array of the standard library takes lists fastest; and lists that are kept, one for each
    text, would set off the garbage collector, which takes a quarter of the time.
    """
    ids = array("I")
    for encoding in encodings:
        ids.extend(encoding.ids)
    return np.frombuffer(ids, dtype=np.uint32)


def _sums(values: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns the sums of runs of values, each of so many."""
    ends = np.cumsum(counts)
    sums = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=sums[1:])
    return np.diff(sums[ends], prepend=0)


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
