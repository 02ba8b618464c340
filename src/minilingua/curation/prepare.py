"""First pass: one task a file of rows, row by row, in any number of processes.

input ─► filters ─┬► line, words and record in the spool
                  └► ledger: reason, count, sample
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Protocol

import orjson

from minilingua.core.batches import batches
from minilingua.core.errors import DataError, did_you_mean
from minilingua.core.files import read_jsonl
from minilingua.core.manifest import Manifest
from minilingua.core.records import Choice, InstructionExample
from minilingua.core.rejects import Reject, excerpt, reject_order
from minilingua.core.seeding import content_id
from minilingua.curation.contamination import hash_pair
from minilingua.curation.filters import Filter, row_filters
from minilingua.curation.hashing import hash_text
from minilingua.curation.ledger import Ledger
from minilingua.curation.rows import TASKS, SpoolRows, SpoolWriter
from minilingua.curation.splits import SplitRule, place_of
from minilingua.curation.texts import Texts, join_words, read_texts, tokens, words_of_all
from minilingua.sources.decode import NativeFile
from minilingua.sources.read import read_instruction_file

_CHOICE = tuple(field.name for field in fields(Choice))


class Input(Protocol):
    """Rows of one task; it is sent to another process, so it holds no open file."""

    @property
    def size(self) -> int:
        """Bytes to read: decides which task starts first, and whether processes are worth it."""

    def read(self, manifest: Manifest) -> Iterator[InstructionExample]:
        """Yields the rows; what readers reject is counted in the manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructionInput:
    """One file of an instruction source."""

    raw: Path
    source: str
    file: NativeFile
    languages: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of the file, as it is stored."""
        return self.file.path.stat().st_size

    def read(self, manifest: Manifest) -> Iterator[InstructionExample]:
        """Yields the rows that the source's reader accepts."""
        return read_instruction_file(self.raw, self.source, self.file, self.languages, manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleInput:
    """One file of finished examples: what the stage ``mcqa`` writes."""

    path: Path

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    def read(self, manifest: Manifest) -> Iterator[InstructionExample]:  # noqa: ARG002 (protocol)
        """Yields all rows: none is rejected here."""
        return read_jsonl(self.path, InstructionExample)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What every task has to know."""

    max_characters: int
    filters: tuple[str, ...]
    rule: SplitRule
    sources: tuple[str, ...]
    """All that may occur, the preferred one first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareTask:
    """One input, and where its rows go."""

    number: int
    rows: Input
    spool: Path
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What a task hands back beside the spool."""

    ledger: Ledger
    held_out: frozenset[int]
    """Places of the keys under which a row asks about a held-out fact."""


def prepare(task: PrepareTask) -> Prepared:
    """Filters an input's rows into the spool, batch by batch.

    Raises:
        DataError: a file is not what its format allows.
    """
    settings = task.settings
    ledger, rejected = Ledger(), Manifest(stage="curate")
    held_out: set[int] = set()
    filters = _filters(settings.max_characters, settings.filters)
    with SpoolWriter(directory=task.spool, task=task.number) as spool:
        for batch in batches(task.rows.read(rejected)):
            ledger.read.update([(example.source, example.language) for example in batch])
            for language, rows in _by_language(_filter(batch, filters, ledger)).items():
                _require_known_sources(rows, settings.sources)
                places = [place_of(texts.example.key) for texts in rows]
                held_out.update(
                    place
                    for texts, place in zip(rows, places, strict=True)
                    if settings.rule.holds_out(texts.example.fact)
                )
                spool.add(language, _spooled(rows, places, settings.sources))
    for (_, source, language), count in rejected.dropped.items():
        ledger.read[source, language] += count
    ledger.merge(Ledger(manifest=rejected))
    return Prepared(ledger=ledger, held_out=frozenset(held_out))


def _filter(
    examples: Sequence[InstructionExample], filters: Sequence[Filter], ledger: Ledger
) -> list[Texts]:
    """Returns the rows in which no filter finds anything, and counts the others."""
    rows = [read_texts(example) for example in examples]
    for rule in filters:
        find = rule.find
        found = [find(texts) for texts in rows]
        if found.count(None) == len(rows):
            continue
        for texts, what in zip(rows, found, strict=True):
            if what is not None:
                _drop(texts.example, rule.reason, what, ledger)
        rows = [texts for texts, what in zip(rows, found, strict=True) if what is None]
    return rows


def _drop(example: InstructionExample, reason: str, found: str, ledger: Ledger) -> None:
    ledger.manifest.drop(reason, example.source, example.language)
    ledger.manifest.rejects.offer(
        reason,
        example.source,
        order_of(example),
        lambda: Reject(
            reason=reason,
            source=example.source,
            language=example.language,
            row=example.row,
            found=found,
            prompt=excerpt(example.messages[0].content) if example.messages else "",
            answer=excerpt(example.messages[-1].content) if example.messages else "",
        ),
    )


def _by_language(rows: Sequence[Texts]) -> dict[str, list[Texts]]:
    found: dict[str, list[Texts]] = {}
    for texts in rows:
        found.setdefault(texts.example.language, []).append(texts)
    return found


def _require_known_sources(rows: Sequence[Texts], sources: Sequence[str]) -> None:
    for texts in rows:
        example = texts.example
        if example.source not in sources:
            raise DataError(
                f"{example.row}: source {example.source!r} is not in sources.include"
                f"{did_you_mean(example.source, sources)}"
            )


def _spooled(rows: Sequence[Texts], places: Sequence[int], sources: Sequence[str]) -> SpoolRows:
    examples = [texts.example for texts in rows]
    identities = [conversation_id(example) for example in examples]
    asked = words_of_all([texts.folded_prompt for texts in rows])
    answered = words_of_all([texts.folded_answer for texts in rows])
    number = {name: index for index, name in enumerate(sources)}
    return SpoolRows(
        lines=[conversation_line(*named) for named in zip(examples, identities, strict=True)],
        where=[example.row.encode() for example in examples],
        words=[join_words(*both) for both in zip(asked, answered, strict=True)],
        columns={
            "id": [int(identity, 16) for identity in identities],
            "text": [_text_hash(texts) for texts in rows],
            "pair": [_pair(*row) for row in zip(rows, asked, answered, strict=True)],
            "asked": [_asked_hash(texts) for texts in rows],
            "place": places,
            "order": [order_of(example) for example in examples],
            "source": [number[example.source] for example in examples],
            "task": [TASKS.index(example.task) for example in examples],
            "has_fact": [example.fact is not None for example in examples],
        },
    )


def conversation_id(example: InstructionExample) -> str:
    """Returns the identity of a conversation: ``content_id`` of language, roles and contents."""
    contents = [turn.content for turn in example.messages]
    return content_id(f"{example.language}\x1e{_roles_and_turns(example, contents)}")


def conversation_line(example: InstructionExample, identity: str) -> bytes:
    """Returns the line of ``data/conversations``: a ``Conversation`` as canonical JSON.

    orjson is ten times faster than ``dump_record``, which writes the same bytes (a test compares
    them); but it sorts the keys of dictionaries only, so the records become such.
    """
    choice = example.choice
    row = {
        "id": identity,
        "key": example.key,
        "source": example.source,
        "language": example.language,
        "task": example.task,
        "messages": [{"content": turn.content, "role": turn.role} for turn in example.messages],
        "choice": None if choice is None else {name: getattr(choice, name) for name in _CHOICE},
        "fact": example.fact,
    }
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def order_of(example: InstructionExample) -> int:
    """Returns a number that orders rows whatever file they came from first."""
    return reject_order(example.source, example.language, example.row)


def _text_hash(texts: Texts) -> int:
    """Returns what is equal for exact duplicates."""
    return hash_text(_roles_and_turns(texts.example, texts.folded_turns).encode())


def _asked_hash(texts: Texts) -> int:
    """Returns what is equal for prompts that differ in case, white space or encoding only."""
    first = texts.folded_turns[texts.example.messages[0].role == "system"]
    return hash_text(first.encode())


def _pair(texts: Texts, asked: bytes, answered: bytes) -> int:
    """Returns what is equal for the same question with the same answer."""
    if texts.is_code:  # programs differ in their signs
        return hash_pair(tokens(texts.folded_prompt), tokens(texts.folded_answer))
    return hash_pair(asked, answered)


def _roles_and_turns(example: InstructionExample, turns: Sequence[str]) -> str:
    spoken = zip(example.messages, turns, strict=True)
    return "\x1e".join([f"{turn.role}\x1f{text}" for turn, text in spoken])


@cache
def _filters(max_characters: int, chosen: tuple[str, ...]) -> tuple[Filter, ...]:
    return row_filters(max_characters, chosen)
