"""One language to tokens: what the stage does for each, and an array of jobs side by side.

data/conversations/<split>/<language>.jsonl ─► encoder ─► truncation ─► <split>/<language>/
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from minilingua.chat.encode import ConversationEncoder, Encoded
from minilingua.chat.stream import encode_stream
from minilingua.chat.tokenizer_files import read_tokenizer_files
from minilingua.chat.truncate import truncate
from minilingua.core.files import read_jsonl, require, tree_digest
from minilingua.core.manifest import Manifest
from minilingua.core.records import SPLITS, Conversation
from minilingua.core.tokens import TextCounts, TokenizedConversation, write_token_file
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
        os.environ["TOKENIZERS_PARALLELISM"] = "true"  # ids do not depend on it
        files = read_tokenizer_files(require(TOKENIZER, "minilingua tokenizer"))
        return cls(
            encoder=ConversationEncoder(files),
            vocab_size=files.vocab_size,
            digest=tree_digest(TOKENIZER),
            truncate_to=params.tokenize.truncate_to,
        )

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
            write_token_file(
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
    ) -> Iterator[TokenizedConversation]:
        """Yields the conversations of a file in its order, counting kept and dropped ones."""
        for conversation, outcome in encode_stream(self.encoder, read_jsonl(source, Conversation)):
            progress.update()
            if outcome.conversation is None:
                manifest.drop(outcome.reason, conversation.source, conversation.language)
                continue
            manifest.keep(conversation.source, conversation.language)
            count = counts.setdefault(conversation.source, TextCounts())
            yield self._counted(conversation, outcome, count)

    def _counted(
        self, conversation: Conversation, outcome: Encoded, count: TextCounts
    ) -> TokenizedConversation:
        """Returns the tokens, cut to the limit if there is one and they can be, and counts them."""
        tokenized, limit = outcome.conversation, self.truncate_to
        assert tokenized is not None
        if limit is not None and len(tokenized.tokens) > limit:
            cut = truncate(conversation, limit, self.encoder)
            if cut is not None and cut[1].conversation is not None:
                conversation, outcome = cut
                tokenized = cut[1].conversation
                count.truncated += 1
        count.text_tokens += outcome.text_tokens
        count.words += sum(len(message.content.split()) for message in conversation.messages)
        return tokenized


def conversation_file(split: str, language: str) -> Path:
    """Returns the file of a split and language.

    Raises:
        MissingInputError: it is missing.
    """
    return require(CONVERSATIONS / split / f"{language}.jsonl", "minilingua curate")
