"""Stage ``curate``: examples of all sources become filtered, shuffled, split conversations.

    data/raw ─► readers ──┐   prepare: a task a file              publish: a task a language
    data/mcqa ────────────┴► row filters ─► spool ─► duplicates ─► near duplicates ─► splits
                                                     (all languages)     └► contamination ─► files

    data/conversations/<split>/<language>.jsonl   conversations, shuffled
    data/conversations/manifest.json              what was read, written and dropped, and why
    data/conversations/rejects/<reason>.jsonl     a sample of what was dropped
    data/conversations/contamination.jsonl        evaluation items found in training rows

Every source is read once. Neither the order of sources, nor that of rows, nor the number of
processes reaches the output.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minilingua.core.errors import DataError, ParamsError, did_you_mean
from minilingua.core.files import require, staged_directory
from minilingua.core.languages import LANGUAGES, NATURAL_LANGUAGES
from minilingua.core.processes import TaskRunner, processes_for, task_runner
from minilingua.core.records import SPLITS
from minilingua.curation import duplicates, near_duplicates
from minilingua.curation.benchmarks import read_benchmarks
from minilingua.curation.contamination import Item
from minilingua.curation.duplicates import Copies, find_copies
from minilingua.curation.filters import row_filters
from minilingua.curation.ledger import Ledger
from minilingua.curation.prepare import (
    ExampleInput,
    Input,
    InstructionInput,
    Prepared,
    PrepareTask,
    Settings,
    prepare,
)
from minilingua.curation.publish import (
    BENCHMARK_REASON,
    PublishTask,
    base_splits,
    findings_of,
    publish,
    save_items,
)
from minilingua.curation.rows import Hashes, Spool
from minilingua.curation.splits import SplitRule
from minilingua.params import Params
from minilingua.sources.read import instruction_files
from minilingua.sources.selection import used_sources
from minilingua.sources.spec import source_names

RAW = Path("data/raw")
BENCHMARKS = "benchmarks"
MCQA = Path("data/mcqa")
OUTPUT = Path("data/conversations")


def run(params: Params) -> None:
    """Writes ``data/conversations`` from ``data/raw`` and ``data/mcqa``.

    Raises:
        MissingInputError: raw data, the MCQA stage's output or the benchmarks are missing.
        DataError: a row is not what its format allows, or a language is left without training data.
        ParamsError: facts are to be held out, but there is no split to hold them; or a preferred
            source is unknown.
    """
    require(RAW, made_by="minilingua fetch")
    languages = [code for code in LANGUAGES if code in params.languages]
    benchmarks = RAW / BENCHMARKS if (RAW / BENCHMARKS).is_dir() else None
    inputs = find_inputs(used_sources(params.sources, ("instruction", "code")), languages)
    with staged_directory(OUTPUT) as output:
        processes = processes_for(sum(rows.size for rows in inputs))
        ledger = curate(
            inputs, languages, params, output, benchmarks=benchmarks, processes=processes
        )
        ledger.manifest.write(output / "manifest.json")
        ledger.manifest.rejects.write(output / "rejects")


def find_inputs(included: Sequence[str], languages: Sequence[str]) -> list[Input]:
    """Returns what there is to read, one input a file.

    Raises:
        MissingInputError: a file is missing.
    """
    inputs: list[Input] = [
        InstructionInput(raw=RAW, source=name, file=file, languages=tuple(languages))
        for name in sorted(included)
        for file in instruction_files(RAW, name, languages)
    ]
    return inputs + [
        ExampleInput(path=require(MCQA / f"{language}.jsonl", made_by="minilingua mcqa"))
        for language in languages
        if language in NATURAL_LANGUAGES
    ]


def curate(
    inputs: Sequence[Input],
    languages: Sequence[str],
    params: Params,
    output: Path,
    *,
    benchmarks: Path | None = None,
    processes: int = 1,
) -> Ledger:
    """Writes ``<split>/<language>.jsonl`` and ``contamination.jsonl`` below ``output``.

    Args:
        inputs: rows of all sources, in any order.
        languages: codes in canonical order; each gets a file in every split.
        params: the sections seed, sources.include and curate are used.
        output: an existing, empty directory.
        benchmarks: directory of texts that must not be trained on, if there are any.
        processes: more than one do the tasks side by side.

    Returns:
        What became of the rows, the manifest complete.

    Raises:
        DataError: a row is not what its format allows, or a language is left without training data.
        ParamsError: as ``SplitRule``, or a preferred source is unknown.
    """
    settings = _settings(params)
    spool = output / "spool"
    spool.mkdir()
    items: list[Item] = []
    sets: dict[str, dict[str, Any]] = {}
    if benchmarks is not None:
        items, sets = read_benchmarks(benchmarks)
        save_items(spool / "benchmarks.jsonl", items)
    ledger = Ledger()
    held_out_places: set[int] = set()
    with task_runner(processes) as run_tasks:
        for prepared in _prepare_all(inputs, settings, spool, run_tasks):
            ledger.merge(prepared.ledger)
            held_out_places |= prepared.held_out
        held_out = np.array(sorted(held_out_places), dtype=np.uint64)
        copies = _find_copies(spool, languages, settings.rule, held_out)
        tasks = [
            PublishTask(
                language=language,
                spool=spool,
                output=output,
                sources=settings.sources,
                rule=settings.rule,
                held_out=held_out,
                copies=copies[language],
                copied_languages=tuple(languages),
                near_duplicates=params.curate.near_duplicates,
                benchmarks=spool / "benchmarks.jsonl" if items else None,
                seed=params.seed,
            )
            for language in languages
        ]
        for published in _publish_all(tasks, run_tasks):
            ledger.merge(published)
    with (output / "contamination.jsonl").open("wb") as findings:
        for language in languages:
            with findings_of(spool, language).open("rb") as part:
                shutil.copyfileobj(part, findings)
    shutil.rmtree(spool)
    _require_training_data(languages, ledger)
    ledger.manifest.details |= _details(languages, params, ledger)
    ledger.manifest.details["benchmarks"] = sets
    return ledger


def _settings(params: Params) -> Settings:
    names = source_names()
    for name in params.curate.prefer:
        if name not in names:
            raise ParamsError(
                f"curate.prefer: unknown source {name!r}; allowed: {', '.join(names)}"
                f"{did_you_mean(name, names)}"
            )
    return Settings(
        max_characters=params.curate.max_characters,
        filters=tuple(params.curate.filters),
        rule=SplitRule(
            validation=params.curate.validation,
            test=params.curate.test,
            unseen_facts=params.curate.unseen_facts,
            minimum_test_mcqa=params.curate.minimum_test_mcqa,
        ),
        sources=tuple(dict.fromkeys([*params.curate.prefer, *sorted(names)])),
    )


def _prepare_all(
    inputs: Sequence[Input], settings: Settings, spool: Path, run_tasks: TaskRunner
) -> Iterable[Prepared]:
    tasks = [
        (PrepareTask(number=number, rows=rows, spool=spool, settings=settings),)
        for number, rows in enumerate(inputs)
    ]
    with tqdm(desc="curate", unit=" rows", disable=None) as progress:
        for prepared in run_tasks(prepare, tasks, [rows.size for rows in inputs]):
            progress.update(prepared.ledger.read.total())
            yield prepared


def _find_copies(
    spool: Path, languages: Sequence[str], rule: SplitRule, held_out: Hashes
) -> dict[str, Copies]:
    return find_copies(
        languages,
        lambda language: Spool.open(spool, language).rows,
        lambda rows: base_splits(rule, held_out, rows["place"]),
    )


def _publish_all(tasks: Sequence[PublishTask], run_tasks: TaskRunner) -> Iterable[Ledger]:
    sizes = [
        sum(file.stat().st_size for file in task.spool.glob(f"*-{task.language}.lines"))
        for task in tasks
    ]
    with tqdm(desc="compare", total=len(tasks), unit=" languages", disable=None) as progress:
        for published in run_tasks(publish, [(task,) for task in tasks], sizes):
            progress.update()
            yield published


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


def _details(languages: Sequence[str], params: Params, ledger: Ledger) -> dict[str, Any]:
    read: dict[str, dict[str, int]] = {}
    for (source, language), count in ledger.read.items():
        read.setdefault(source, {})[language] = count
    rows = {split: dict.fromkeys(languages, 0) for split in SPLITS}
    tasks: dict[str, Counter[str]] = {split: Counter() for split in SPLITS}
    mcqa = {split: dict.fromkeys(languages, 0) for split in SPLITS}
    for (split, language, task), count in ledger.written.items():
        rows[split][language] += count
        tasks[split][task] += count
        if task == "mcqa":
            mcqa[split][language] += count
    return {
        "rows_read": read,
        "rows": rows,
        "rows_by_task": tasks,
        "mcqa_rows": mcqa,
        "contamination": {
            name: {
                "items_found": len(items),
                "items_trained_on": len(ledger.items_trained_on.get(name, ())),
            }
            for name, items in sorted(ledger.items_found.items())
        },
        "filters": {
            rule.reason: rule.description
            for rule in row_filters(params.curate.max_characters, params.curate.filters)
        }
        | {
            duplicates.REASON: "The same turns, but for case and white space, were kept already.",
            near_duplicates.REASON: "Prompt and answer are nearly those of a row that was kept.",
            duplicates.HELD_OUT_REASON: "A training row repeats one of validation or test.",
            BENCHMARK_REASON: "A training row shares a run of words with a benchmark's item.",
        },
    }
