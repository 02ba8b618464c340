"""Byte-fallback BPE: learned by SentencePiece, rebuilt as a fast tokenizer with the same ids.

Spaces become U+2581 (so a literal U+2581 in a text decodes to a space, as in every SentencePiece
model), a line break is its byte token, every digit is a token, and characters outside the
vocabulary are spelled in bytes, so that no text is ever unknown.

Source: SentencePiece (Kudo and Richardson, 2018); the rule that turns pieces into merges is the
one that BPE scores define: of all pairs that form a known piece, the best-scored piece first.
"""

import io
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

from minilingua.core.errors import DataError, ParamsError

BEGIN, END, PAD, UNKNOWN = "<|begin|>", "<|end|>", "<|pad|>", "<|unknown|>"
ROLE_MARKERS = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL_TOKENS = (UNKNOWN, BEGIN, END, PAD, *ROLE_MARKERS)
"""In the order of their ids, from 0."""

_SPACE = "\u2581"
_CHARACTER_COVERAGE = 0.9995
_LONGEST_LINE = 1 << 20  # bytes; SentencePiece leaves out longer lines without a word


def train_sentencepiece(texts: Iterable[str], vocab_size: int) -> bytes:
    """Learns a BPE vocabulary and returns the serialized SentencePiece model.

    The same texts in the same order give the same bytes.

    Args:
        texts: what to learn from; streamed, line by line.
        vocab_size: size of the vocabulary, special and byte tokens included; met exactly.

    Raises:
        DataError: there is no text.
        ParamsError: the texts do not support a vocabulary of that size; says which they do.
    """
    lines = _lines(texts)
    first = next(lines, None)
    if first is None:
        raise DataError("data/conversations/train: no text to learn a tokenizer from")
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=itertools.chain([first], lines),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            split_digits=True,
            allow_whitespace_only_pieces=True,  # indentation of code as one token
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            character_coverage=_CHARACTER_COVERAGE,
            max_sentence_length=_LONGEST_LINE,
            num_threads=1,
            unk_id=SPECIAL_TOKENS.index(UNKNOWN),
            unk_piece=UNKNOWN,
            bos_id=SPECIAL_TOKENS.index(BEGIN),
            bos_piece=BEGIN,
            eos_id=SPECIAL_TOKENS.index(END),
            eos_piece=END,
            pad_id=SPECIAL_TOKENS.index(PAD),
            pad_piece=PAD,
            control_symbols=list(ROLE_MARKERS),
            minloglevel=2,
        )
    except RuntimeError as error:
        raise _explain(str(error), vocab_size) from error
    return model.getvalue()


def fast_tokenizer(model: bytes) -> Tokenizer:
    """Rebuilds a serialized SentencePiece BPE model as a ``tokenizers`` tokenizer.

    It has no pre-tokenizer: no piece has a space after a letter, so that none is needed, and
    finding the words first takes longer than merging whole texts does.
    """
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    size = pieces.vocab_size()
    vocabulary = {pieces.id_to_piece(index): index for index in range(size)}
    learned = {
        pieces.id_to_piece(index): float(pieces.get_score(index))
        for index in range(size)
        if not (pieces.is_control(index) or pieces.is_unknown(index) or pieces.is_byte(index))
    }
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=_merges(learned, vocabulary),
            unk_token=UNKNOWN,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    return tokenizer


def _merges(learned: dict[str, float], vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Returns every pair that forms a learned piece, the best-scored piece first."""
    ranked: list[tuple[float, int, int, tuple[str, str]]] = []
    for piece, score in learned.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in learned and right in learned:
                ranked.append((-score, vocabulary[left], vocabulary[right], (left, right)))
    return [pair for *_, pair in sorted(ranked)]


def _lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        for line in text.split("\n"):
            if line:
                yield line


def _explain(message: str, vocab_size: int) -> Exception:
    """Turns SentencePiece's message into one that names the parameter and what would work."""
    found: Any = re.search(r"Vocabulary size too high \(\d+\).* <= (\d+)", message)
    if found:
        return ParamsError(
            f"params.yaml: tokenizer.vocab_size: {vocab_size} is more than the training split "
            f"supports; the largest that works is {found[1]}"
        )
    found = re.search(r"smaller than required_chars\. \d+ vs (\d+)", message)
    if found:
        return ParamsError(
            f"params.yaml: tokenizer.vocab_size: {vocab_size} is less than the characters of the "
            f"training split need; the smallest that works is {found[1]}"
        )
    return RuntimeError(message)
