"""First pass: one task a file of rows, row by row, in any number of processes.

input ─► filters ─┬► line, words and record in the spool
                  └► ledger: reason, count, sample
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import orjson

from minilingua.core.errors import DataError, did_you_mean
from minilingua.core.files import read_jsonl
from minilingua.core.manifest import Manifest
from minilingua.core.records import InstructionExample
from minilingua.core.seeding import content_id, hash64
from minilingua.curation.contamination import hash_pair
from minilingua.curation.filters import Filter, row_filters
from minilingua.curation.ledger import Ledger
from minilingua.curation.rejects import Reject, excerpt
from minilingua.curation.rows import TASKS, SpoolWriter
from minilingua.curation.splits import SplitRule, place_of
from minilingua.curation.texts import Texts, join_words, read_texts, tokens, words
from minilingua.sources.decode import NativeFile
from minilingua.sources.read import read_instruction_file


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
    """Filters an input's rows into the spool.

    Raises:
        DataError: a file is not what its format allows.
    """
    settings = task.settings
    ledger, rejected = Ledger(), Manifest(stage="curate")
    held_out: set[int] = set()
    filters = _filters(settings.max_characters, settings.filters)
    sources = {name: index for index, name in enumerate(settings.sources)}
    with SpoolWriter(directory=task.spool, task=task.number) as spool:
        for example in task.rows.read(rejected):
            ledger.read[example.source, example.language] += 1
            texts = read_texts(example)
            order = order_of(example)
            if not _passes(texts, filters, order, ledger):
                continue
            if example.source not in sources:
                raise DataError(
                    f"{example.row}: source {example.source!r} is not in sources.include"
                    f"{did_you_mean(example.source, sources)}"
                )
            place = place_of(example.key)
            if settings.rule.holds_out(example.fact):
                held_out.add(place)
            identity = conversation_id(example)
            asked, answered = words(texts.folded_prompt), words(texts.folded_answer)
            spool.add(
                example.language,
                conversation_line(example, identity),
                example.row.encode(),
                join_words(asked, answered),
                (
                    int(identity, 16),
                    hash64("\x1e".join(_roles_and_turns(example, texts.folded_turns))),
                    _pair(texts, asked, answered),
                    place,
                    order,
                ),
                (sources[example.source], TASKS.index(example.task), example.fact is not None),
            )
    for (_, source, language), rows in rejected.dropped.items():
        ledger.read[source, language] += rows
    ledger.merge(Ledger(manifest=rejected))
    return Prepared(ledger=ledger, held_out=frozenset(held_out))


def conversation_id(example: InstructionExample) -> str:
    """Returns the identity of a conversation: ``content_id`` of language, roles and contents."""
    contents = [turn.content for turn in example.messages]
    return content_id("\x1e".join([example.language, *_roles_and_turns(example, contents)]))


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
        "choice": None if choice is None else asdict(choice),
        "fact": example.fact,
    }
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def order_of(example: InstructionExample) -> int:
    """Returns a number that orders rows whatever file they came from first."""
    return hash64("\x1f".join([example.source, example.language, example.row]))


def _pair(texts: Texts, asked: bytes, answered: bytes) -> int:
    """Returns what is equal for the same question with the same answer."""
    if texts.is_code:  # programs differ in their signs
        return hash_pair(tokens(texts.folded_prompt), tokens(texts.folded_answer))
    return hash_pair(asked, answered)


def _roles_and_turns(example: InstructionExample, turns: Sequence[str]) -> list[str]:
    return [f"{turn.role}\x1f{text}" for turn, text in zip(example.messages, turns, strict=True)]


def _passes(texts: Texts, filters: Sequence[Filter], order: int, ledger: Ledger) -> bool:
    for rule in filters:
        found = rule.find(texts)
        if found is not None:
            break
    else:
        return True
    example = texts.example
    ledger.manifest.drop(rule.reason, example.source, example.language)
    ledger.rejects.offer(
        rule.reason,
        example.source,
        order,
        lambda: Reject(
            reason=rule.reason,
            source=example.source,
            language=example.language,
            row=example.row,
            found=found,
            prompt=excerpt(example.messages[0].content) if example.messages else "",
            answer=excerpt(example.messages[-1].content) if example.messages else "",
        ),
    )
    return False


@cache
def _filters(max_characters: int, chosen: tuple[str, ...]) -> tuple[Filter, ...]:
    return row_filters(max_characters, chosen)
