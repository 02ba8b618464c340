"""Tokenized conversations on disk: flat arrays that are memory-mapped, one directory a language.

    tokens.bin      uint16 or uint32, little-endian: all conversations, one after the other
    loss_mask.bin   uint8, as long as tokens.bin: 1 where the token is a target of the loss
    offsets.bin     uint64 [conversations + 1]: conversation i is tokens[offsets[i]:offsets[i + 1]]
    ids.bin         uint64 [conversations]: the conversation ids (16 hexadecimal digits) as numbers
    sources.bin     uint16 [conversations]: the source of each, an index into those of meta.json
    meta.json       dtype, counts, sources, digest of the tokenizer that made it, format version

Masks say which *tokens* are targets. Nothing is shifted here; the training and evaluation losses
shift once, when they pair position i with token i + 1.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minilingua.core.errors import DataError
from minilingua.core.files import read_json, require, staged_directory, tree_digest, write_json

FORMAT_VERSION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizedConversation:
    """One conversation as token ids."""

    id: str
    """The conversation's id: 16 hexadecimal digits."""
    tokens: npt.NDArray[np.uint32]
    """[n] token ids, from the begin token to the last end-of-turn token."""
    loss_mask: npt.NDArray[np.uint8]
    """[n] 1 where the token is predicted and supervised: assistant text and its end-of-turn."""
    source: str = ""
    """Name of its source, as in ``sources.include`` of params.yaml; empty: not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenBatch:
    """Several conversations, one after the other.

    Shape legend: c conversations, t their tokens.
    """

    ids: Sequence[str]
    """[c] as ``TokenizedConversation.id``."""
    sources: Sequence[str]
    """[c] as ``TokenizedConversation.source``."""
    lengths: npt.NDArray[np.int64]
    """[c] tokens of each."""
    tokens: npt.NDArray[np.uint32]
    """[t]"""
    loss_mask: npt.NDArray[np.uint8]
    """[t]"""


@dataclass(slots=True, kw_only=True)
class TextCounts:
    """What is counted of the conversations of one source while they are tokenized."""

    words: int = 0
    """Parts of the contents between white space."""
    text_tokens: int = 0
    """Tokens without those of the template."""
    truncated: int = 0
    """Conversations of which user turns were cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """The conversations of one language and split, memory-mapped."""

    path: Path
    tokens: npt.NDArray[Any]
    """[total] uint16 or uint32 token ids."""
    loss_mask: npt.NDArray[np.uint8]
    """[total]."""
    offsets: npt.NDArray[np.uint64]
    """[conversations + 1]."""
    ids: npt.NDArray[np.uint64]
    """[conversations]."""
    sources: npt.NDArray[np.uint16]
    """[conversations] indices into ``source_names``."""
    counts: dict[str, TextCounts]
    """Source ─► what was counted, for every source that has a conversation here."""
    tokenizer_digest: str
    """SHA-256 that names the tokenizer and chat template."""

    def __len__(self) -> int:
        return len(self.ids)

    def lengths(self) -> npt.NDArray[np.int64]:
        """Returns the number of tokens of each conversation, [conversations]."""
        bounds = self.offsets.astype(np.int64)
        return bounds[1:] - bounds[:-1]

    @property
    def source_names(self) -> tuple[str, ...]:
        """The sources, in the order of their numbers."""
        return tuple(self.counts)

    def __getitem__(self, row: int) -> TokenizedConversation:
        begin, end = int(self.offsets[row]), int(self.offsets[row + 1])
        return TokenizedConversation(
            id=f"{int(self.ids[row]):016x}",
            tokens=np.asarray(self.tokens[begin:end], dtype=np.uint32),
            loss_mask=np.asarray(self.loss_mask[begin:end]),
            source=self.source_names[self.sources[row]],
        )


def write_token_file(
    path: Path,
    conversations: Iterable[TokenizedConversation],
    *,
    vocab_size: int,
    tokenizer_digest: str,
    counts: Mapping[str, TextCounts] | None = None,
) -> int:
    """Writes conversations that come one by one, as ``write_token_batches`` does."""
    return write_token_batches(
        path,
        map(_alone, conversations),
        vocab_size=vocab_size,
        tokenizer_digest=tokenizer_digest,
        counts=counts,
    )


def _alone(conversation: TokenizedConversation) -> TokenBatch:
    return TokenBatch(
        ids=[conversation.id],
        sources=[conversation.source],
        lengths=np.array([len(conversation.tokens)]),
        tokens=conversation.tokens,
        loss_mask=conversation.loss_mask,
    )


def write_token_batches(
    path: Path,
    batches: Iterable[TokenBatch],
    *,
    vocab_size: int,
    tokenizer_digest: str,
    counts: Mapping[str, TextCounts] | None = None,
) -> int:
    """Writes one language's directory in one step and returns its number of conversations.

    Streams: memory does not grow with the number of tokens.

    Args:
        path: the directory.
        batches: in the order of their rows.
        vocab_size: decides how many bytes a token takes.
        tokenizer_digest: names the tokenizer and chat template.
        counts: source ─► what was counted; read when all conversations are written.
    """
    dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
    lengths = [np.zeros(0, dtype="<u8")]
    ids = [np.zeros(0, dtype="<u8")]
    sources = [np.zeros(0, dtype="<u2")]
    numbers: dict[str, int] = {}
    supervised = 0
    with staged_directory(path) as aside:
        with (
            (aside / "tokens.bin").open("wb") as tokens,
            (aside / "loss_mask.bin").open("wb") as masks,
        ):
            for batch in batches:
                tokens.write(batch.tokens.astype(dtype).tobytes())
                masks.write(batch.loss_mask.astype(np.uint8).tobytes())
                supervised += int(batch.loss_mask.sum())
                lengths.append(batch.lengths.astype("<u8"))
                ids.append(np.array([int(name, 16) for name in batch.ids], dtype="<u8"))
                numbered = [numbers.setdefault(name, len(numbers)) for name in batch.sources]
                sources.append(np.array(numbered, dtype="<u2"))
        offsets = np.concatenate([np.zeros(1, dtype="<u8"), *lengths]).cumsum(dtype="<u8")
        (aside / "offsets.bin").write_bytes(offsets.tobytes())
        (aside / "ids.bin").write_bytes(np.concatenate(ids).tobytes())
        (aside / "sources.bin").write_bytes(np.concatenate(sources).tobytes())
        told = counts or {}
        write_json(
            aside / "meta.json",
            {
                "format_version": FORMAT_VERSION,
                "dtype": dtype.str,
                "conversations": len(offsets) - 1,
                "tokens": int(offsets[-1]),
                "supervised_tokens": supervised,
                "vocab_size": vocab_size,
                "tokenizer_digest": tokenizer_digest,
                "sources": [
                    {"name": name, **asdict(told.get(name, TextCounts()))} for name in numbers
                ],
            },
        )
    return len(offsets) - 1


def open_token_file(path: Path) -> TokenFile:
    """Memory-maps one language's directory.

    Raises:
        MissingInputError: the directory or one of its files is missing.
        DataError: the sizes of its files contradict meta.json (truncated or mixed up).
    """
    meta_path = path / "meta.json"
    meta = read_json(meta_path, made_by="minilingua tokenize")
    if meta.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{meta_path}: format_version is {meta.get('format_version')!r}, "
            f"this code reads {FORMAT_VERSION}; run `dvc repro tokenize`"
        )
    total, count = int(meta["tokens"]), int(meta["conversations"])

    def mapped(name: str, dtype: str, length: int) -> npt.NDArray[Any]:
        file = require(path / name, made_by="minilingua tokenize")
        found, expected = file.stat().st_size, length * np.dtype(dtype).itemsize
        if found != expected:
            raise DataError(
                f"{file} has {found} bytes where meta.json implies {expected}: it is truncated "
                "or changed; `dvc checkout` restores it"
            )
        if length == 0:  # an empty file cannot be mapped
            return np.zeros(0, dtype=dtype)
        return np.memmap(file, dtype=dtype, mode="r", shape=(length,))

    file = TokenFile(
        path=path,
        tokens=mapped("tokens.bin", meta["dtype"], total),
        loss_mask=mapped("loss_mask.bin", "u1", total),
        offsets=mapped("offsets.bin", "<u8", count + 1),
        ids=mapped("ids.bin", "<u8", count),
        sources=mapped("sources.bin", "<u2", count),
        counts={
            str(source["name"]): TextCounts(
                words=int(source["words"]),
                text_tokens=int(source["text_tokens"]),
                truncated=int(source["truncated"]),
            )
            for source in meta["sources"]
        },
        tokenizer_digest=meta["tokenizer_digest"],
    )
    if int(file.offsets[-1]) != total or (count and int(file.lengths().min()) <= 0):
        raise DataError(f"{path / 'offsets.bin'} contradicts meta.json; `dvc checkout` restores it")
    if count and int(file.sources.max()) >= len(file.counts):
        raise DataError(f"{path / 'sources.bin'} contradicts meta.json; `dvc checkout` restores it")
    return file


def token_file_digest(path: Path) -> str:
    """Returns a SHA-256 over all that a language's directory holds.

    Raises:
        MissingInputError: the directory is missing.
    """
    return tree_digest(require(path, "minilingua tokenize"))
