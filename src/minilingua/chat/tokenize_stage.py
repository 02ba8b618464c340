"""Stage ``tokenize``: ``data/conversations`` to the token files of ``data/tokens``."""

import csv
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from minilingua.chat.encode import ConversationEncoder
from minilingua.chat.stream import encode_stream
from minilingua.core.files import (
    read_jsonl,
    require,
    staged_directory,
    tree_digest,
    write_text,
)
from minilingua.core.manifest import Manifest
from minilingua.core.records import SPLITS, Conversation
from minilingua.core.tokenizer_files import read_tokenizer_files
from minilingua.core.tokens import TokenizedConversation, write_token_file
from minilingua.params import Params

CONVERSATIONS = Path("data/conversations")
TOKENIZER = Path("models/tokenizer")
OUTPUT = Path("data/tokens")
_COLUMNS = (
    "split",
    "language",
    "conversations",
    "tokens",
    "supervised_tokens",
    "tokens_per_word",
)


@dataclass(slots=True, kw_only=True)
class TokenCounts:
    """A row of token_counts.csv."""

    conversations: int = 0
    tokens: int = 0
    """Template tokens included."""
    supervised_tokens: int = 0
    text_tokens: int = 0
    """Template tokens left out."""
    words: int = 0
    """Parts of the contents between white space."""

    def tokens_per_word(self) -> str:
        """Returns the fertility of the tokenizer, text tokens a word; empty without words."""
        return f"{self.text_tokens / self.words:.3f}" if self.words else ""


def run(params: Params) -> None:
    """Tokenizes every split and language.

    Raises:
        MissingInputError: a file of conversations or the tokenizer is missing.
        DataError: a line is not a conversation, or the chat template cannot be used.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # ids do not depend on it
    files = read_tokenizer_files(require(TOKENIZER, "minilingua tokenizer"))
    encoder = ConversationEncoder(files)
    digest = tree_digest(TOKENIZER)
    manifest = Manifest(
        stage="tokenize", details={"tokenizer_digest": digest, "vocab_size": files.vocab_size}
    )
    table: list[tuple[str, str, TokenCounts]] = []
    with staged_directory(OUTPUT) as aside, tqdm(unit="conversation", disable=None) as progress:
        for split in SPLITS:
            for language in params.languages:
                progress.set_description(f"{split}/{language}")
                source = require(CONVERSATIONS / split / f"{language}.jsonl", "minilingua curate")
                counts = TokenCounts()
                write_token_file(
                    aside / split / language,
                    _tokenized(source, encoder, counts, manifest, progress),
                    vocab_size=files.vocab_size,
                    tokenizer_digest=digest,
                )
                table.append((split, language, counts))
        write_text(aside / "token_counts.csv", _csv(table))
        manifest.write(aside / "manifest.json")
    for split in SPLITS:
        total = sum(counts.tokens for name, _, counts in table if name == split)
        supervised = sum(counts.supervised_tokens for name, _, counts in table if name == split)
        print(f"{split}: {total} tokens, {supervised} supervised")  # noqa: T201 - the report


def _tokenized(
    source: Path,
    encoder: ConversationEncoder,
    counts: TokenCounts,
    manifest: Manifest,
    progress: "tqdm[object]",
) -> Iterator[TokenizedConversation]:
    """Yields the conversations of a file in its order, counting kept and dropped ones."""
    for conversation, outcome in encode_stream(encoder, read_jsonl(source, Conversation)):
        progress.update()
        if outcome.conversation is None:
            manifest.drop(outcome.reason, conversation.source, conversation.language)
            continue
        manifest.keep(conversation.source, conversation.language)
        counts.conversations += 1
        counts.tokens += len(outcome.conversation.tokens)
        counts.supervised_tokens += outcome.supervised_tokens
        counts.text_tokens += outcome.text_tokens
        counts.words += sum(len(item.content.split()) for item in conversation.messages)
        yield outcome.conversation


def _csv(table: list[tuple[str, str, TokenCounts]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for split, language, counts in table:
        writer.writerow(
            (
                split,
                language,
                counts.conversations,
                counts.tokens,
                counts.supervised_tokens,
                counts.tokens_per_word(),
            )
        )
    return text.getvalue()
