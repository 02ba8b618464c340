"""Stage ``mcqa``: multiple-choice items of every source become instruction examples.

    data/raw ─► readers ─► select ─► spool        (row by row, a task for each source and language)
    spool ─► drop repeats ─► quotas               (index only)
    spool ─► render ─┬► data/mcqa/<language>.jsonl                (a task for each language)
                     └► data/mcqa/all_formats/<language>.jsonl
    dropped ─► data/mcqa/manifest.json (counts), data/mcqa/rejects/<reason>.jsonl (a sample)

Each question is written once for training, in the answer format and instruction language that the
quotas give it, and once in each of the three formats for evaluation: same key, same options in
the same order, same instruction language. Large data is done by several processes; the bytes are
the same either way.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minilingua.core.batches import buffered
from minilingua.core.files import require, staged_directory, tree_files
from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.core.manifest import Manifest
from minilingua.core.processes import processes_for, task_runner
from minilingua.core.records import ANSWER_FORMATS, AnswerFormat, MultipleChoiceItem
from minilingua.core.rejects import Reject, excerpt, reject_order
from minilingua.core.seeding import generator
from minilingua.mcqa.build import Question, select
from minilingua.mcqa.quotas import LanguageQuota, plan_quotas
from minilingua.mcqa.render import (
    EscapedQuestion,
    Templates,
    escaped_templates,
    render,
    unescaped_question,
)
from minilingua.mcqa.spool import Index, Spool, distinct, spool_questions
from minilingua.params import Params
from minilingua.sources.native import native_files
from minilingua.sources.read import read_multiple_choice
from minilingua.sources.selection import used_sources
from minilingua.sources.spec import load_spec

RAW = Path("data/raw")
OUTPUT = Path("data/mcqa")

Realised = Counter[tuple[AnswerFormat, str]]
"""(answer format, language of the instruction) ─► questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What became of the rows that one task has read."""

    source: str
    manifest: Manifest
    """Dropped rows."""
    index: dict[str, Index]
    """Language ─► its questions in the spool."""


def run(params: Params) -> None:
    """Writes ``data/mcqa`` from ``data/raw``.

    Raises:
        MissingInputError: raw data is missing.
        DataError: raw data is not what its format allows.
    """
    require(RAW, made_by="minilingua fetch")
    languages: list[str] = [code for code in NATURAL_LANGUAGES if code in params.languages]
    sources = sorted(used_sources(params.sources, ("multiple_choice",)))
    templates = escaped_templates(dict.fromkeys(["en", *languages]))
    manifest = Manifest(stage="mcqa")
    processes = processes_for(raw_bytes(sources))
    with staged_directory(OUTPUT) as output, task_runner(processes) as run_tasks:
        spool = output / "spool"
        spool.mkdir()
        reading = [
            (number, source, codes, spool, params.mcqa.shown_options, params.seed)
            for number, (source, codes) in enumerate(_reading_tasks(sources, languages))
        ]
        selected = list(_progress(run_tasks(select_rows, reading), len(reading), "read"))
        for part in selected:
            manifest.merge(part.manifest)
        index = _distinct_questions(selected, languages, spool, manifest)
        quotas = plan_quotas(
            {language: len(found) for language, found in index.items()},
            params.mcqa.answer_formats,
            params.mcqa.english_instructions,
        )
        (output / "all_formats").mkdir()
        writing = [
            (
                language, index[language], quotas[language], output, params.seed,
                {code: templates[code] for code in ("en", language)},
            )
            for language in languages
        ]  # fmt: skip
        realised = dict(
            zip(
                languages,
                _progress(run_tasks(write_language, writing), len(writing), "written"),
                strict=True,
            )
        )
        shutil.rmtree(spool)
        manifest.details |= _realised_quotas(realised)
        manifest.write(output / "manifest.json")
        manifest.rejects.write(output / "rejects")


def select_rows(
    number: int, source: str, languages: Sequence[str], spool: Path, shown_options: int, seed: int
) -> Selected:
    """Spools the questions of a source in some languages.

    Args:
        number: of the spool file.
        source: what to read.
        languages: codes to read.
        spool: directory of the spool.
        shown_options: options shown at most.
        seed: root seed.
    """
    manifest = Manifest(stage="mcqa")

    def questions() -> Iterator[Question]:
        for item in buffered(read_multiple_choice(RAW, source, languages, manifest)):
            question = select(item, shown_options, seed)
            if isinstance(question, Question):
                yield question
                continue
            _drop(manifest, question, item, texts=(item.question, item.options[item.answer]))

    index = spool_questions(spool, number, buffered(questions()))
    return Selected(source=source, index=index, manifest=manifest)


def write_language(
    language: str,
    index: Index,
    quota: LanguageQuota,
    output: Path,
    seed: int,
    templates: Templates,
) -> Realised:
    """Writes both files of a language, in the order of its index.

    The quota is dealt out to the questions in an order drawn from the seed.
    """
    hand = quota.deal()
    places = generator(seed, "mcqa", "quota", language).permutation(len(index))
    realised: Realised = Counter()
    name = f"{language}.jsonl"
    with (
        Spool(output / "spool") as spool,
        (output / name).open("w", encoding="utf-8", newline="\n") as one,
        (output / "all_formats" / name).open("w", encoding="utf-8", newline="\n") as all_formats,
    ):
        for question, place in zip(buffered(spool.questions(index)), places, strict=True):
            answer_format, is_english = hand[place]
            instruction_language = "en" if is_english else language
            lines = render(question, instruction_language, templates, seed)
            one.write(lines[answer_format] + "\n")
            all_formats.write("\n".join(lines.values()) + "\n")
            realised[answer_format, instruction_language] += 1
    return realised


def raw_bytes(sources: Sequence[str]) -> int:
    """Returns the size of the raw data of some sources."""
    return sum(file.stat().st_size for name in sources for file in tree_files(RAW / name))


def _reading_tasks(
    sources: Sequence[str], languages: Sequence[str]
) -> list[tuple[str, Sequence[str]]]:
    """Returns (source, languages): one language each, or all where one file holds several."""
    tasks: list[tuple[str, Sequence[str]]] = []
    for source in sources:
        files = native_files(
            load_spec(source), RAW / source, languages, hint="; `minilingua fetch` makes them"
        )
        found = {file.language for file in files}
        if None in found:
            tasks.append((source, languages))
        else:
            tasks += [(source, [code]) for code in languages if code in found]
    return tasks


def _progress(results: Iterator[Any], total: int, unit: str) -> Iterator[Any]:
    return iter(tqdm(results, desc="mcqa", total=total, unit=f" {unit}", disable=None))


def _distinct_questions(
    selected: Sequence[Selected],
    languages: Sequence[str],
    spool: Path,
    manifest: Manifest,
) -> dict[str, Index]:
    """Returns each language's questions sorted by key, and counts what is kept and repeated.

    A question that occurs again with the same correct answer is dropped as ``repeated_question``:
    its key would be the same.
    """
    found: dict[str, Index] = {}
    with Spool(spool) as questions:
        for language in languages:
            parts = [part.index[language] for part in selected if language in part.index]
            found[language] = distinct(parts, questions, partial(_drop_repeated, manifest))
            for number, rows in Counter(found[language]["file"].tolist()).items():
                manifest.keep(selected[number].source, language, rows)
    return found


def _drop_repeated(manifest: Manifest, item: EscapedQuestion, kept: EscapedQuestion) -> None:
    question, found = unescaped_question(item), f"as {unescaped_question(kept).row}"
    texts = (question.text, question.options[question.answer])
    _drop(manifest, "repeated_question", question, found=found, texts=texts)


def _drop(
    manifest: Manifest,
    reason: str,
    item: MultipleChoiceItem | Question,
    *,
    texts: tuple[str, str],
    found: str = "",
) -> None:
    """Counts a dropped row, and offers it with its question and right option to the sample."""
    manifest.drop(reason, item.source, item.language)
    manifest.rejects.offer(
        reason,
        item.source,
        reject_order(item.source, item.language, item.row),
        lambda: Reject(
            reason=reason,
            source=item.source,
            language=item.language,
            row=item.row,
            found=found,
            prompt=excerpt(texts[0]),
            answer=excerpt(texts[1]),
        ),
    )


def _realised_quotas(realised: Mapping[str, Realised]) -> dict[str, Any]:
    """Returns counts per language and in total.

    ``instructions`` of the total leave English out, where the instruction is English either way.
    """
    others = sum((counts for code, counts in realised.items() if code != "en"), Counter())
    everything = sum(realised.values(), Counter())
    return {
        "quotas": {code: _tables(counts) for code, counts in realised.items()},
        "quotas_total": {
            "answer_formats": _tables(everything)["answer_formats"],
            "instructions_except_english": _tables(others)["instructions"],
            "crossed_except_english": _tables(others)["crossed"],
        },
    }


def _tables(counts: Realised) -> dict[str, Any]:
    formats: Counter[str] = Counter(dict.fromkeys(ANSWER_FORMATS, 0))
    instructions: Counter[str] = Counter()
    crossed: dict[str, dict[str, int]] = {name: {} for name in ANSWER_FORMATS}
    for (answer_format, instruction), rows in counts.items():
        kind = "en" if instruction == "en" else "native"
        formats[answer_format] += rows
        instructions[kind] += rows
        crossed[answer_format][kind] = crossed[answer_format].get(kind, 0) + rows
    return {
        "answer_formats": dict(formats),
        "instructions": dict(instructions),
        "crossed": crossed,
    }
