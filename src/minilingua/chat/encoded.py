"""What conversations are encoded to, and what stands between: batches of texts and of arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minilingua.core.records import Conversation
from minilingua.core.tokens import TokenBatch, TokenizedConversation


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A batch whose texts are ready for the tokenizer."""

    conversations: Sequence[Conversation]
    """Those whose turns alternate."""
    dropped: list[tuple[Conversation, str]]
    """The others, each with its reason."""
    turns: Sequence[tuple[int, ...]]
    """Of each conversation, indices of its turns among the encoder's."""
    texts: list[str]
    """Of each turn, of all conversations one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """The outcome for one conversation."""

    conversation: TokenizedConversation | None
    """None where it was dropped."""
    reason: str = ""
    """Why it was dropped, or an empty string."""
    text_tokens: int = 0
    """Tokens without those of the template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedBatch:
    """The outcome for several conversations, one after the other.

    Shape legend: c conversations that are kept, t their tokens.
    """

    kept: Sequence[Conversation]
    """[c] in the order of the batch."""
    dropped: Sequence[tuple[Conversation, str]]
    """The others, each with its reason."""
    lengths: npt.NDArray[np.int64]
    """[c] tokens of each."""
    tokens: npt.NDArray[np.uint32]
    """[t] as ``TokenizedConversation.tokens``."""
    loss_mask: npt.NDArray[np.uint8]
    """[t] as ``TokenizedConversation.loss_mask``."""
    text_tokens: npt.NDArray[np.int64]
    """[c] tokens without those of the template."""

    def to_write(self) -> TokenBatch:
        """Returns what the token file holds of it."""
        return TokenBatch(
            ids=[conversation.id for conversation in self.kept],
            sources=[conversation.source for conversation in self.kept],
            lengths=self.lengths,
            tokens=self.tokens,
            loss_mask=self.loss_mask,
        )

    def only(self, which: npt.NDArray[np.bool_], *, otherwise: str) -> "EncodedBatch":
        """Drops all but some conversations for a reason.

        Args:
            which: [c] True for those that stay.
            otherwise: why the others do not.
        """
        if which.all():
            return self
        kept = list(zip(self.kept, which.tolist(), strict=True))
        of_kept = np.repeat(which, self.lengths)
        return EncodedBatch(
            kept=[conversation for conversation, is_kept in kept if is_kept],
            dropped=[
                *self.dropped,
                *((conversation, otherwise) for conversation, is_kept in kept if not is_kept),
            ],
            lengths=self.lengths[which],
            tokens=self.tokens[of_kept],
            loss_mask=self.loss_mask[of_kept],
            text_tokens=self.text_tokens[which],
        )

    def replaced(self, others: Mapping[int, tuple[Conversation, Encoded]]) -> "EncodedBatch":
        """Returns the batch with other conversations at some places of ``kept``."""
        ends = np.cumsum(self.lengths)[:-1]
        kept = list(self.kept)
        tokens, masks = np.split(self.tokens, ends), np.split(self.loss_mask, ends)
        text_tokens = self.text_tokens.copy()
        for place, (conversation, encoded) in others.items():
            assert encoded.conversation is not None
            kept[place] = conversation
            tokens[place] = encoded.conversation.tokens
            masks[place] = encoded.conversation.loss_mask
            text_tokens[place] = encoded.text_tokens
        return EncodedBatch(
            kept=kept,
            dropped=self.dropped,
            lengths=np.fromiter(map(len, tokens), np.int64, len(tokens)),
            tokens=np.concatenate(tokens),
            loss_mask=np.concatenate(masks),
            text_tokens=text_tokens,
        )
