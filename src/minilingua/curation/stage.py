"""Stage ``curate``: examples of all sources become filtered, shuffled, split conversations.

    data/raw ─► readers ──┐
    data/mcqa ────────────┴► row filters ─► spool, one file a language         (rows, one by one)
    spool ─► drop duplicates ─► split by hash ─► shuffle ─► data/conversations (one language in
                                                                                memory at a time)

Every source is read once. Rows are sorted before anything is drawn or compared, so neither the
order of sources nor that of directories reaches the output.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minilingua.core.errors import DataError
from minilingua.core.files import dump_record, read_jsonl, require, staged_directory, write_jsonl
from minilingua.core.languages import LANGUAGES, NATURAL_LANGUAGES
from minilingua.core.manifest import Manifest
from minilingua.core.records import SPLITS, Conversation, InstructionExample, Split
from minilingua.core.seeding import content_id, generator
from minilingua.curation import duplicates
from minilingua.curation.duplicates import DuplicateIndex
from minilingua.curation.filters import Filter, row_filters
from minilingua.curation.rejects import RejectSample
from minilingua.curation.splits import SplitRule, assign_splits
from minilingua.params import Params
from minilingua.sources.read import read_instructions
from minilingua.sources.selection import used_sources

RAW = Path("data/raw")
MCQA = Path("data/mcqa")
OUTPUT = Path("data/conversations")


@dataclass(slots=True, kw_only=True)
class Ledger:
    """What becomes of the rows, as counts and as a sample."""

    manifest: Manifest
    rejects: RejectSample = field(default_factory=RejectSample)
    read: Counter[str] = field(default_factory=Counter)
    """Source ─► rows that reached the filters; what readers reject comes on top."""
    written: Counter[tuple[Split, str, str]] = field(default_factory=Counter)
    """(split, language, task) ─► rows."""

    def drop(self, reason: str, example: InstructionExample) -> None:
        """Counts a dropped row and offers it to the sample."""
        self.manifest.drop(reason, example.source, example.language)
        self.rejects.add(reason, example)


def run(params: Params) -> None:
    """Writes ``data/conversations`` from ``data/raw`` and ``data/mcqa``.

    Raises:
        MissingInputError: raw data or the MCQA stage's output is missing.
        DataError: a row is not what its format allows, or a language is left without training data.
        ParamsError: facts are to be held out, but there is no split to hold them.
    """
    require(RAW, made_by="minilingua fetch")
    ledger = Ledger(manifest=Manifest(stage="curate"))
    languages = [code for code in LANGUAGES if code in params.languages]
    included = used_sources(params.sources, ("instruction", "code"))
    examples = _read_all(included, languages, ledger.manifest)
    with staged_directory(OUTPUT) as output:
        curate(examples, languages, params, output, ledger)
        ledger.manifest.write(output / "manifest.json")
        write_jsonl(output / "rejects.jsonl", ledger.rejects.rows())


def curate(
    examples: Iterable[InstructionExample],
    languages: Sequence[str],
    params: Params,
    output: Path,
    ledger: Ledger,
) -> None:
    """Writes ``<split>/<language>.jsonl`` below ``output`` and counts into the ledger.

    Args:
        examples: rows of all sources, in any order.
        languages: codes in canonical order; each gets a file in every split.
        params: the sections seed and curate are used.
        output: an existing, empty directory.
        ledger: receives counts, a sample of rejects, and the manifest's details.

    Raises:
        DataError: a language is left without training data.
        ParamsError: as ``SplitRule``.
    """
    rule = SplitRule(
        validation=params.curate.validation,
        test=params.curate.test,
        unseen_facts=params.curate.unseen_facts,
        minimum_test_mcqa=params.curate.minimum_test_mcqa,
    )
    filters = row_filters(params.curate.max_characters)
    spool = output / "spool"
    spool.mkdir()
    held_out_keys: set[str] = set()
    with ExitStack() as stack:
        streams = {
            language: stack.enter_context((spool / f"{language}.jsonl").open("w", encoding="utf-8"))
            for language in languages
        }
        for example in _filtered(examples, filters, ledger):
            if rule.holds_out(example.fact):
                held_out_keys.add(example.key)
            streams[example.language].write(dump_record(example) + "\n")
    index = DuplicateIndex()
    for language in tqdm(languages, desc="curate", unit=" languages", disable=None):
        kept = _without_duplicates(spool / f"{language}.jsonl", index, ledger)
        _write_splits(kept, language, rule, held_out_keys, params.seed, output, ledger)
    shutil.rmtree(spool)
    _require_training_data(languages, ledger)
    ledger.manifest.details |= _details(languages, filters, ledger)


def conversation_id(example: InstructionExample) -> str:
    """Returns the identity of a conversation: ``content_id`` of language, roles and contents."""
    turns = (f"{turn.role}\x1f{turn.content}" for turn in example.messages)
    return content_id("\x1e".join([example.language, *turns]))


def _read_all(
    included: Sequence[str], languages: Sequence[str], manifest: Manifest
) -> Iterator[InstructionExample]:
    for name in included:
        yield from read_instructions(RAW, name, languages, manifest)
    for language in languages:
        if language in NATURAL_LANGUAGES:
            path = require(MCQA / f"{language}.jsonl", made_by="minilingua mcqa")
            yield from read_jsonl(path, InstructionExample)


def _filtered(
    examples: Iterable[InstructionExample], filters: Sequence[Filter], ledger: Ledger
) -> Iterator[InstructionExample]:
    for example in tqdm(examples, desc="curate", unit=" rows", disable=None):
        ledger.read[example.source] += 1
        reason = next((rule.reason for rule in filters if rule.rejects(example)), None)
        if reason is None:
            yield example
        else:
            ledger.drop(reason, example)


def _without_duplicates(
    path: Path, index: DuplicateIndex, ledger: Ledger
) -> list[InstructionExample]:
    """Returns a language's rows in a canonical order, of equal ones the first."""
    ranked = sorted(read_jsonl(path, InstructionExample), key=_precedence)
    kept = []
    for example, is_repeated in index.first_of_each(ranked):
        if is_repeated:
            ledger.drop(duplicates.REASON, example)
        else:
            kept.append(example)
    return kept


def _precedence(example: InstructionExample) -> tuple[bool, str, str, str]:
    """Orders rows: what knows its fact first, so that no duplicate hides that it is held out."""
    return example.fact is None, example.source, conversation_id(example), example.row


def _write_splits(
    examples: Sequence[InstructionExample],
    language: str,
    rule: SplitRule,
    held_out_keys: set[str],
    seed: int,
    output: Path,
    ledger: Ledger,
) -> None:
    splits = assign_splits(examples, rule, held_out_keys)
    for split in SPLITS:
        rows = sorted(
            (_conversation(example) for example in examples if splits[example.key] == split),
            key=lambda conversation: conversation.id,
        )
        order = generator(seed, "curate", split, language).permutation(len(rows))
        write_jsonl(output / split / f"{language}.jsonl", (rows[index] for index in order))
        for row in rows:
            ledger.manifest.keep(row.source, language)
            ledger.written[split, language, row.task] += 1


def _conversation(example: InstructionExample) -> Conversation:
    return Conversation(
        id=conversation_id(example),
        key=example.key,
        source=example.source,
        language=example.language,
        task=example.task,
        messages=example.messages,
        choice=example.choice,
        fact=example.fact,
    )


def _require_training_data(languages: Sequence[str], ledger: Ledger) -> None:
    trained = {language for split, language, _ in ledger.written if split == "train"}
    missing = [language for language in languages if language not in trained]
    if not missing:
        return
    dropped: Counter[str] = Counter()
    for (reason, _, language), rows in ledger.manifest.dropped.items():
        if language == missing[0]:
            dropped[reason] += rows
    kept = sum(n for (_, language, _), n in ledger.written.items() if language == missing[0])
    reasons = ", ".join(f"{reason} {rows}" for reason, rows in sorted(dropped.items())) or "none"
    raise DataError(
        f"no training data for {', '.join(missing)}: {missing[0]} has {kept} rows for validation "
        f"and test; dropped: {reasons}; sources.include may lack a source of the language"
    )


def _details(languages: Sequence[str], filters: Sequence[Filter], ledger: Ledger) -> dict[str, Any]:
    rows = {split: dict.fromkeys(languages, 0) for split in SPLITS}
    tasks: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    mcqa = {split: dict.fromkeys(languages, 0) for split in SPLITS}
    for (split, language, task), count in ledger.written.items():
        rows[split][language] += count
        tasks[split][task] += count
        if task == "mcqa":
            mcqa[split][language] += count
    return {
        "rows_read": dict(ledger.read),
        "rows": rows,
        "rows_by_task": tasks,
        "mcqa_rows": mcqa,
        "filters": {rule.reason: rule.description for rule in filters}
        | {duplicates.REASON: "The same turns, but for case and white space, were kept already."},
    }
