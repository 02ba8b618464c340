"""What the plan has to know of a split: the length of every conversation, not its tokens.

There may be millions: what there is one of for each conversation takes as few bytes as its values
allow, and the masks are read piece by piece rather than mapped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minilingua.core.errors import DataError
from minilingua.core.records import Split
from minilingua.core.tokens import TextCounts, TokenFile, open_token_file, token_file_digest

Ints = npt.NDArray[np.integer[Any]]

_TOKENS_AT_ONCE = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageCorpus:
    """The conversations of one language in one split that fit into a pack."""

    language: str
    rows: Ints
    """[n] rows of the token file, ascending."""
    lengths: Ints
    """[n] tokens."""
    supervised: Ints
    """[n] supervised tokens."""
    sources: Ints
    """[n] indices into ``source_names``."""
    source_names: tuple[str, ...]
    too_long: dict[str, int]
    """Source ─► conversations longer than a pack, where there are any; they are dropped."""
    counts: dict[str, TextCounts]
    """Source ─► what the token file says of all its conversations, dropped ones included."""
    digest: str
    """``token_file_digest`` of the token file."""
    tokenizer_digest: str

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dropped_too_long(self) -> int:
        """Conversations longer than a pack."""
        return sum(self.too_long.values())


def read_corpus(
    tokens: Path, split: Split, languages: tuple[str, ...], sequence_length: int
) -> list[LanguageCorpus]:
    """Reads the lengths of a split, in the order of ``languages``.

    Raises:
        MissingInputError: a language's directory is missing.
        DataError: a token file is damaged, or made by another tokenizer than the rest.
    """
    corpus = [_read(tokens / split / code, code, sequence_length) for code in languages]
    for other in corpus[1:]:
        if other.tokenizer_digest != corpus[0].tokenizer_digest:
            raise DataError(
                f"{tokens / split}: {corpus[0].language} and {other.language} were made by "
                "different tokenizers; run `dvc repro tokenize`"
            )
    return corpus


def _read(path: Path, language: str, sequence_length: int) -> LanguageCorpus:
    file = open_token_file(path)
    lengths = _compact(file.lengths())
    supervised = _compact(_supervised(file))
    sources = _compact(file.sources)
    fits = lengths <= sequence_length
    rows = np.flatnonzero(fits).astype(np.int32)
    too_long = np.bincount(sources[~fits], minlength=len(file.source_names))
    return LanguageCorpus(
        language=language,
        rows=rows,
        lengths=lengths[rows],
        supervised=supervised[rows],
        sources=sources[rows],
        source_names=file.source_names,
        too_long={
            name: int(count)
            for name, count in zip(file.source_names, too_long, strict=True)
            if count
        },
        counts=file.counts,
        digest=token_file_digest(path),
        tokenizer_digest=file.tokenizer_digest,
    )


def _compact(values: Ints) -> Ints:
    """Returns the same numbers, none negative, in the smallest type that holds them."""
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _supervised(file: TokenFile) -> Ints:
    """Returns the supervised tokens of each conversation, [conversations]."""
    found = np.zeros(len(file), dtype=np.int32)
    offsets = file.offsets.astype(np.int64)
    first = 0
    with (file.path / "loss_mask.bin").open("rb") as stream:
        while first < len(file):
            last = int(np.searchsorted(offsets, offsets[first] + _TOKENS_AT_ONCE, side="right")) - 1
            last = min(max(last, first + 1), len(file))
            mask = np.fromfile(stream, dtype=np.uint8, count=int(offsets[last] - offsets[first]))
            begins = offsets[first:last] - offsets[first]
            found[first:last] = np.add.reduceat(mask, begins, dtype=np.int64)
            first = last
    return found
