"""One language to tokens: what the stage does for each, and an array of jobs side by side.

data/conversations/<split>/<language>.jsonl ─► encoder ─► truncation ─► <split>/<language>/
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from tqdm import tqdm

from minilingua.chat.encode import ConversationEncoder
from minilingua.chat.encoded import EncodedBatch
from minilingua.chat.stream import encode_stream
from minilingua.chat.truncate import truncate
from minilingua.core.files import read_jsonl, require, tree_digest
from minilingua.core.manifest import Manifest
from minilingua.core.records import SPLITS, Conversation
from minilingua.core.tokenizer_files import read_tokenizer_files
from minilingua.core.tokens import TextCounts, TokenBatch, write_token_batches
from minilingua.params import Params

CONVERSATIONS = Path("data/conversations")
TOKENIZER = Path("models/tokenizer")


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageTokenizer:
    """What all languages have in common."""

    encoder: ConversationEncoder
    vocab_size: int
    digest: str
    """SHA-256 that names tokenizer and chat template."""
    truncate_to: int | None

    @classmethod
    def load(cls, params: Params) -> "LanguageTokenizer":
        """Reads ``models/tokenizer``.

        Raises:
            MissingInputError: it is missing.
            DataError: its chat template cannot be used.
        """
        digest = tree_digest(require(TOKENIZER, "minilingua tokenizer"))
        return _load(digest, params.tokenize.truncate_to)

    def write(self, language: str, directory: Path, progress: "tqdm[object]") -> Manifest:
        """Writes ``<split>/<language>`` of every split below a directory; returns the counts.

        Raises:
            MissingInputError: a file of conversations is missing.
            DataError: a line is not a conversation.
        """
        manifest = Manifest(stage="tokenize")
        for split in SPLITS:
            progress.set_description(f"{split}/{language}")
            counts: dict[str, TextCounts] = {}
            write_token_batches(
                directory / split / language,
                self._tokenized(conversation_file(split, language), counts, manifest, progress),
                vocab_size=self.vocab_size,
                tokenizer_digest=self.digest,
                counts=counts,
            )
        return manifest

    def _tokenized(
        self,
        source: Path,
        counts: dict[str, TextCounts],
        manifest: Manifest,
        progress: "tqdm[object]",
    ) -> Iterator[TokenBatch]:
        """Yields the conversations of a file in its order, counting kept and dropped ones."""
        for encoded in encode_stream(self.encoder, read_jsonl(source, Conversation)):
            batch = self._cut(encoded, counts)
            for conversation, reason in batch.dropped:
                manifest.drop(reason, conversation.source, conversation.language)
            manifest.kept.update((item.source, item.language) for item in batch.kept)
            _count(batch, counts)
            progress.update(len(batch.kept) + len(batch.dropped))
            yield batch.to_write()

    def _cut(self, batch: EncodedBatch, counts: dict[str, TextCounts]) -> EncodedBatch:
        """Returns the batch, cut to the limit if there is one and where that can be."""
        if self.truncate_to is None:
            return batch
        cuts = {}
        for place in np.flatnonzero(batch.lengths > self.truncate_to).tolist():
            cut = truncate(batch.kept[place], self.truncate_to, self.encoder)
            if cut is not None and cut[1].conversation is not None:
                cuts[place] = cut
                counts.setdefault(cut[0].source, TextCounts()).truncated += 1
        return batch.replaced(cuts) if cuts else batch


@lru_cache(maxsize=1)
def _load(digest: str, truncate_to: int | None) -> LanguageTokenizer:
    """Reads ``models/tokenizer``, once as long as it has this digest."""
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # ids do not depend on it
    files = read_tokenizer_files(TOKENIZER)
    return LanguageTokenizer(
        encoder=ConversationEncoder(files),
        vocab_size=files.vocab_size,
        digest=digest,
        truncate_to=truncate_to,
    )


def tokenize_language(params: Params, language: str, directory: Path) -> Manifest:
    """Does what ``LanguageTokenizer.write`` does, in whichever process it is called."""
    with tqdm(disable=True) as progress:
        return LanguageTokenizer.load(params).write(language, directory, progress)


def _count(batch: EncodedBatch, counts: dict[str, TextCounts]) -> None:
    """Adds the words and text tokens of a batch to those of its sources."""
    texts: dict[str, list[str]] = {}
    text_tokens: Counter[str] = Counter()
    for conversation, tokens in zip(batch.kept, batch.text_tokens.tolist(), strict=True):
        texts.setdefault(conversation.source, []).extend(
            [message.content for message in conversation.messages]
        )
        text_tokens[conversation.source] += tokens
    for source, contents in texts.items():
        count = counts.setdefault(source, TextCounts())
        count.words += len(" ".join(contents).split())
        count.text_tokens += text_tokens[source]


def conversation_file(split: str, language: str) -> Path:
    """Returns the file of a split and language.

    Raises:
        MissingInputError: it is missing.
    """
    return require(CONVERSATIONS / split / f"{language}.jsonl", "minilingua curate")
