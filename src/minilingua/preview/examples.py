"""A few tokenized conversations of each language and source, and their tokens as text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from minilingua.core.records import Split
from minilingua.core.seeding import hash64
from minilingua.core.tokens import TokenFile, open_token_file


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Tokens that are text together: one, or several that share a character."""

    text: str
    ids: tuple[int, ...]
    supervised: bool
    special: bool
    """A control token of the chat template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One conversation as the model sees it."""

    id: str
    tokens: int
    supervised_tokens: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePreview:
    """What one language has of one source."""

    language: str
    source: str
    conversations: int
    tokens: int
    supervised_tokens: int
    truncated: int
    """Conversations of which user turns were cut."""
    examples: tuple[Example, ...]


def preview_language(
    tokens: Path, split: Split, language: str, tokenizer: Tokenizer, per_source: int
) -> Iterator[SourcePreview]:
    """Yields the sources of a language by name, each with its first examples by hashed id.

    Args:
        tokens: ``data/tokens``.
        split: train, validation or test.
        language: its code.
        tokenizer: what made the tokens.
        per_source: examples of each source, at most.

    Raises:
        MissingInputError: the language's directory is missing.
        DataError: it is damaged.
    """
    file = open_token_file(tokens / split / language)
    if not len(file):
        return
    lengths = file.lengths()
    supervised = np.add.reduceat(file.loss_mask, file.offsets[:-1].astype(np.int64), dtype=np.int64)
    for source in sorted(file.source_names):
        rows = np.flatnonzero(file.sources == file.source_names.index(source))
        yield SourcePreview(
            language=language,
            source=source,
            conversations=len(rows),
            tokens=int(lengths[rows].sum()),
            supervised_tokens=int(supervised[rows].sum()),
            truncated=file.counts[source].truncated,
            examples=tuple(
                _example(file, row, tokenizer) for row in _chosen(file, rows.tolist(), per_source)
            ),
        )


def pieces(ids: Sequence[int], mask: Sequence[int], tokenizer: Tokenizer) -> Iterator[Piece]:
    """Yields the text of each token; tokens that end inside a character join those that end it.

    Shapes: ``ids`` [n] tokens, ``mask`` [n] 1 where supervised. The texts joined are the
    conversation, control tokens included.
    """
    control = {
        number: token.content
        for number, token in tokenizer.get_added_tokens_decoder().items()
        if token.special
    }
    stream = DecodeStream(skip_special_tokens=False)
    begin = 0
    for place, token in enumerate(ids):
        special = token in control
        text = control[token] if special else stream.step(tokenizer, token)
        # The mark of a token must not spread to one of another kind: what is begun is shown as is.
        ends = place + 1 == len(ids) or mask[place + 1] != mask[place] or ids[place + 1] in control
        if text is None and not ends:
            continue
        if text is None or special:
            stream = DecodeStream(skip_special_tokens=False)
        members = tuple(ids[begin : place + 1])
        yield Piece(
            text=tokenizer.decode(members, skip_special_tokens=False) if text is None else text,
            ids=members,
            supervised=bool(mask[place]),
            special=special,
        )
        begin = place + 1


def _chosen(file: TokenFile, rows: Sequence[int], count: int) -> list[int]:
    """Returns the rows whose ids hash lowest: others than those that stand first, always the same.

    Ids are content hashes, so that a row of another source moves no choice.
    """
    return sorted(rows, key=lambda row: hash64(f"{int(file.ids[row]):016x}", "preview"))[:count]


def _example(file: TokenFile, row: int, tokenizer: Tokenizer) -> Example:
    conversation = file[row]
    return Example(
        id=conversation.id,
        tokens=len(conversation.tokens),
        supervised_tokens=int(conversation.loss_mask.sum()),
        pieces=tuple(
            pieces(conversation.tokens.tolist(), conversation.loss_mask.tolist(), tokenizer)
        ),
    )
