"""The ``tokenize`` stage: every conversation to tokens and loss mask, a directory a language."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from minilingua.chat.tokenize_language import (
    LanguageTokenizer,
    conversation_file,
    tokenize_language,
)
from minilingua.chat.tokenize_parts import collect
from minilingua.core.files import staged_directory, write_text
from minilingua.core.manifest import Manifest
from minilingua.core.processes import processes_for, rare_garbage_collection, task_runner
from minilingua.core.records import SPLITS
from minilingua.core.tokens import TokenFile, open_token_file
from minilingua.params import Params

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
    """Tokenizes every split and language, but for the parts that jobs have done.

    Raises:
        MissingInputError: a file of conversations or the tokenizer is missing.
        DataError: a line is not a conversation, or the chat template cannot be used.
    """
    tokenizer = LanguageTokenizer.load(params)
    manifest = Manifest(
        stage="tokenize",
        details={"tokenizer_digest": tokenizer.digest, "vocab_size": tokenizer.vocab_size},
    )
    collected = []
    with staged_directory(OUTPUT) as aside:
        for language in params.languages:
            counts = collect(tokenizer, language, aside)
            if counts is not None:
                collected.append(language)
                manifest.merge(counts)
        rest = [code for code in params.languages if code not in collected]
        for counts in _written(tokenizer, params, rest, aside):
            manifest.merge(counts)
        table = [
            _row(split, language, open_token_file(aside / split / language))
            for split in SPLITS
            for language in params.languages
        ]
        write_text(aside / "token_counts.csv", _csv(table))
        manifest.write(aside / "manifest.json")
    print(_report(table, collected))  # noqa: T201 - the stage's report


def _written(
    tokenizer: LanguageTokenizer, params: Params, languages: Sequence[str], directory: Path
) -> Iterator[Manifest]:
    """Writes languages below a directory, by several processes where that saves time."""
    sizes = [_bytes(language) for language in languages]
    processes = min(processes_for(sum(sizes)), len(languages))
    if processes <= 1:
        with (
            rare_garbage_collection(),
            tqdm(unit="conversation", disable=None) as progress,
        ):
            for language in languages:
                yield tokenizer.write(language, directory, progress)
        return
    tasks = [(params, language, directory) for language in languages]
    with task_runner(processes) as run_tasks:
        done = run_tasks(tokenize_language, tasks, sizes)
        yield from tqdm(done, total=len(tasks), unit="language", disable=None)


def _bytes(language: str) -> int:
    return sum(conversation_file(split, language).stat().st_size for split in SPLITS)


def _report(table: Sequence[_Row], collected: Sequence[str]) -> str:
    lines = [f"done before by jobs: {', '.join(collected)}"] if collected else []
    for split in SPLITS:
        rows = [row for row in table if row.split == split]
        truncated = sum(row.truncated for row in rows)
        lines.append(
            f"{split}: {sum(row.tokens for row in rows)} tokens, "
            f"{sum(row.supervised_tokens for row in rows)} supervised"
            + f"; {truncated} conversations truncated"
            * (truncated > 0)
        )
    return "\n".join(lines)


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
