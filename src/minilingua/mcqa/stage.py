"""Stage ``mcqa``: multiple-choice items of every source become instruction examples.

    data/raw ─► readers ─► select ─► spool        (row by row, a task for each source)
    spool ─► drop repeats ─► quotas               (index only)
    spool ─► render ─┬► data/mcqa/<language>.jsonl                (a task for each language)
                     └► data/mcqa/all_formats/<language>.jsonl

Each question is written once for training, in the answer format and instruction language that the
quotas give it, and once in each of the three formats for evaluation: same key, same options in
the same order, same instruction language. Large data is done by several processes; the bytes are
the same either way.
"""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minilingua.core.files import require, staged_directory, tree_files
from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.core.manifest import Manifest
from minilingua.core.processes import available_processors, task_runner
from minilingua.core.records import ANSWER_FORMATS, AnswerFormat
from minilingua.core.seeding import generator
from minilingua.mcqa.build import Question, one_line, select
from minilingua.mcqa.quotas import LanguageQuota, plan_quotas
from minilingua.mcqa.render import Templates, escaped_templates, render
from minilingua.mcqa.spool import Index, Spool, distinct, spool_questions
from minilingua.params import Params
from minilingua.sources.read import EXAMPLES_PER_REASON, MCQA_SOURCES, read_multiple_choice

RAW = Path("data/raw")
OUTPUT = Path("data/mcqa")
_PARALLEL_BYTES = 16 << 20
"""Raw data from which on several processes earn back the time that starting them takes."""

Realised = Counter[tuple[AnswerFormat, str]]
"""(answer format, language of the instruction) ─► questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What became of the rows of one source."""

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
    sources = [name for name in sorted(params.sources.include) if name in MCQA_SOURCES]
    templates = escaped_templates(dict.fromkeys(["en", *languages]))
    manifest = Manifest(stage="mcqa")
    with staged_directory(OUTPUT) as output, task_runner(_processes(sources)) as run_tasks:
        spool = output / "spool"
        spool.mkdir()
        reading = [
            (number, name, languages, params.mcqa.shown_options, params.seed, spool)
            for number, name in enumerate(sources)
        ]
        selected = list(_progress(run_tasks(select_source, reading), len(reading), "sources"))
        for part in selected:
            manifest.merge(part.manifest)
        index = _distinct_questions(selected, languages, sources, spool, manifest)
        quotas = plan_quotas(
            {language: len(found) for language, found in index.items()},
            params.mcqa.answer_formats,
            params.mcqa.english_instructions,
        )
        (output / "all_formats").mkdir()
        writing = [
            (
                language, index[language], quotas[language], sources, output, params.seed,
                {code: templates[code] for code in ("en", language)},
            )
            for language in languages
        ]  # fmt: skip
        realised = dict(
            zip(
                languages,
                _progress(run_tasks(write_language, writing), len(writing), "languages"),
                strict=True,
            )
        )
        shutil.rmtree(spool)
        manifest.details |= _realised_quotas(realised)
        manifest.write(output / "manifest.json")


def select_source(
    number: int, name: str, languages: Sequence[str], shown_options: int, seed: int, spool: Path
) -> Selected:
    """Spools the questions of one source.

    Args:
        number: its number in the index.
        name: the source.
        languages: codes to read.
        shown_options: options shown at most.
        seed: root seed.
        spool: directory for ``<name>.tsv``.
    """
    manifest = Manifest(stage="mcqa")
    explained: Counter[str] = Counter()

    def questions() -> Iterator[Question]:
        for item in read_multiple_choice(RAW, name, languages, manifest):
            question = select(item, shown_options, seed)
            if isinstance(question, Question):
                yield question
                continue
            manifest.drop(question, name, item.language)
            explained[question] += 1
            if explained[question] <= EXAMPLES_PER_REASON:
                examples = manifest.details.setdefault("rejected_examples", [])
                examples.append(f"{item.row}: {question}: {one_line(item.question)!r:.60}")

    return Selected(
        index=spool_questions(spool / f"{name}.tsv", number, questions()), manifest=manifest
    )


def write_language(
    language: str,
    index: Index,
    quota: LanguageQuota,
    sources: Sequence[str],
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
        Spool(output / "spool", sources) as spool,
        (output / name).open("w", encoding="utf-8", newline="\n") as one,
        (output / "all_formats" / name).open("w", encoding="utf-8", newline="\n") as all_formats,
    ):
        for question, place in zip(spool.questions(index), places, strict=True):
            answer_format, is_english = hand[place]
            instruction_language = "en" if is_english else language
            lines = render(question, instruction_language, templates, seed)
            one.write(lines[answer_format] + "\n")
            all_formats.write("\n".join(lines.values()) + "\n")
            realised[answer_format, instruction_language] += 1
    return realised


def _processes(sources: Sequence[str]) -> int:
    size = sum(file.stat().st_size for name in sources for file in tree_files(RAW / name))
    return available_processors() if size >= _PARALLEL_BYTES else 1


def _progress(results: Iterator[Any], total: int, unit: str) -> Iterator[Any]:
    return iter(tqdm(results, desc="mcqa", total=total, unit=f" {unit}", disable=None))


def _distinct_questions(
    selected: Sequence[Selected],
    languages: Sequence[str],
    sources: Sequence[str],
    spool: Path,
    manifest: Manifest,
) -> dict[str, Index]:
    """Returns each language's questions sorted by key, and counts what is kept and repeated.

    A question that occurs again with the same correct answer is dropped as ``repeated_question``:
    its key would be the same.
    """
    found: dict[str, Index] = {}
    with Spool(spool, sources) as questions:
        for language in languages:
            parts = [part.index[language] for part in selected if language in part.index]
            found[language], repeated = distinct(parts, questions)
            for source, rows in repeated.items():
                manifest.drop("repeated_question", source, language, rows)
            for number, rows in Counter(found[language]["source"].tolist()).items():
                manifest.keep(sources[number], language, rows)
    return found


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
