"""Stage ``tokenize``: ``data/conversations`` to the token files of ``data/tokens``."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from minilingua.chat.encode import ConversationEncoder, Encoded
from minilingua.chat.stream import encode_stream
from minilingua.chat.tokenizer_files import read_tokenizer_files
from minilingua.chat.truncate import truncate
from minilingua.core.files import (
    read_jsonl,
    require,
    staged_directory,
    tree_digest,
    write_text,
)
from minilingua.core.manifest import Manifest
from minilingua.core.records import SPLITS, Conversation
from minilingua.core.tokens import (
    TextCounts,
    TokenFile,
    TokenizedConversation,
    open_token_file,
    write_token_file,
)
from minilingua.params import Params

CONVERSATIONS = Path("data/conversations")
TOKENIZER = Path("models/tokenizer")
OUTPUT = Path("data/tokens")


class _Row(NamedTuple):
    """A row of token_counts.csv."""

    split: str
    language: str
    conversations: int
    tokens: int
    """Template tokens included."""
    supervised_tokens: int
    tokens_per_word: str
    """The fertility of the tokenizer, text tokens a word; empty without words."""
    truncated: int
    """Conversations of which user turns were cut."""


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
    table: list[_Row] = []
    with staged_directory(OUTPUT) as aside, tqdm(unit="conversation", disable=None) as progress:
        for split in SPLITS:
            for language in params.languages:
                progress.set_description(f"{split}/{language}")
                source = require(CONVERSATIONS / split / f"{language}.jsonl", "minilingua curate")
                counts: dict[str, TextCounts] = {}
                write_token_file(
                    aside / split / language,
                    _tokenized(
                        source, encoder, params.tokenize.truncate_to, counts, manifest, progress
                    ),
                    vocab_size=files.vocab_size,
                    tokenizer_digest=digest,
                    counts=counts,
                )
                table.append(_row(split, language, open_token_file(aside / split / language)))
        write_text(aside / "token_counts.csv", _csv(table))
        manifest.write(aside / "manifest.json")
    for split in SPLITS:
        rows = [row for row in table if row.split == split]
        truncated = sum(row.truncated for row in rows)
        print(  # noqa: T201 - the stage's report
            f"{split}: {sum(row.tokens for row in rows)} tokens, "
            f"{sum(row.supervised_tokens for row in rows)} supervised"
            + f"; {truncated} conversations truncated"
            * (truncated > 0)
        )


def _tokenized(
    source: Path,
    encoder: ConversationEncoder,
    limit: int | None,
    counts: dict[str, TextCounts],
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
        count = counts.setdefault(conversation.source, TextCounts())
        yield _counted(conversation, outcome, limit, encoder, count)


def _counted(
    conversation: Conversation,
    outcome: Encoded,
    limit: int | None,
    encoder: ConversationEncoder,
    count: TextCounts,
) -> TokenizedConversation:
    """Returns the tokens, cut to ``limit`` if there is one and they can be, and counts them."""
    tokenized = outcome.conversation
    assert tokenized is not None
    if limit is not None and len(tokenized.tokens) > limit:
        cut = truncate(conversation, limit, encoder)
        if cut is not None and cut[1].conversation is not None:
            conversation, outcome = cut
            tokenized = cut[1].conversation
            count.truncated += 1
    count.text_tokens += outcome.text_tokens
    count.words += sum(len(message.content.split()) for message in conversation.messages)
    return tokenized


def _row(split: str, language: str, file: TokenFile) -> _Row:
    counts = file.counts.values()
    words = sum(count.words for count in counts)
    return _Row(
        split=split,
        language=language,
        conversations=len(file),
        tokens=len(file.tokens),
        supervised_tokens=int(file.loss_mask.sum()),
        tokens_per_word=f"{sum(c.text_tokens for c in counts) / words:.3f}" if words else "",
        truncated=sum(count.truncated for count in counts),
    )


def _csv(table: Sequence[_Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_Row._fields)
    writer.writerows(table)
    return text.getvalue()
