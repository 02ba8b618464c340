"""Stage ``mcqa``: multiple-choice items of every source become instruction examples.

    data/raw ─► readers ─► select, drop repeats ─► quotas ─► render ─┬► data/mcqa/<language>.jsonl
                                                                     └► data/mcqa/all_formats/..

Each question is written once for training, in the answer format and instruction language that the
quotas give it, and once in each of the three formats for evaluation: same key, same options in
the same order, same instruction language.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minilingua.core.files import require, staged_directory, write_jsonl
from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.core.manifest import Manifest
from minilingua.core.records import (
    ANSWER_FORMATS,
    AnswerFormat,
    InstructionExample,
    MultipleChoiceItem,
)
from minilingua.core.seeding import generator
from minilingua.mcqa.build import Question, Templates, render, select
from minilingua.mcqa.quotas import LanguageQuota, plan_quotas
from minilingua.mcqa.templates import load_templates
from minilingua.params import Params
from minilingua.sources.read import read_multiple_choice
from minilingua.sources.selection import used_sources

RAW = Path("data/raw")
OUTPUT = Path("data/mcqa")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """A question, and how the quotas have it asked."""

    question: Question
    answer_format: AnswerFormat
    instruction_language: str


def run(params: Params) -> None:
    """Writes ``data/mcqa`` from ``data/raw``.

    Raises:
        MissingInputError: raw data is missing.
        DataError: raw data is not what its format allows.
    """
    require(RAW, made_by="minilingua fetch")
    languages: list[str] = [code for code in NATURAL_LANGUAGES if code in params.languages]
    included = sorted(used_sources(params.sources, ("multiple_choice",)))
    manifest = Manifest(stage="mcqa")
    items = (
        item for name in included for item in read_multiple_choice(RAW, name, languages, manifest)
    )
    questions = select_questions(
        tqdm(items, desc="mcqa", unit=" items", disable=None),
        languages,
        params.mcqa.shown_options,
        params.seed,
        manifest,
    )
    quotas = plan_quotas(
        {language: len(found) for language, found in questions.items()},
        params.mcqa.answer_formats,
        params.mcqa.english_instructions,
    )
    templates = {
        language: load_templates(language) for language in dict.fromkeys(["en", *languages])
    }
    realised: dict[str, Counter[tuple[str, str]]] = {}
    with staged_directory(OUTPUT) as output:
        for language in languages:
            assignments = assign(questions[language], quotas[language], language, params.seed)
            realised[language] = Counter(
                (item.answer_format, item.instruction_language) for item in assignments
            )
            _write_language(output, language, assignments, templates, params.seed)
            for item in assignments:
                manifest.keep(item.question.item.source, language)
        manifest.details |= _realised_quotas(realised)
        manifest.write(output / "manifest.json")


def select_questions(
    items: Iterable[MultipleChoiceItem],
    languages: Sequence[str],
    shown_options: int,
    seed: int,
    manifest: Manifest,
) -> dict[str, list[Question]]:
    """Returns each language's questions sorted by key, whatever order the items came in.

    A question that occurs again with the same correct answer is dropped as ``repeated_question``:
    its key would be the same. One that names its fact stays before one that does not, then
    the one from the source first in the alphabet.
    """
    found: dict[str, dict[str, Question]] = {language: {} for language in languages}
    for item in items:
        question = select(item, shown_options, seed)
        if isinstance(question, str):
            manifest.drop(question, item.source, item.language)
            continue
        kept = found[item.language].setdefault(question.key, question)
        if kept is question:
            continue
        first, second = sorted((kept, question), key=_precedence)
        found[item.language][question.key] = first
        manifest.drop("repeated_question", second.item.source, item.language)
    return {
        language: [questions[key] for key in sorted(questions)]
        for language, questions in found.items()
    }


def assign(
    questions: Sequence[Question], quota: LanguageQuota, language: str, seed: int
) -> list[Assignment]:
    """Deals a language's quota out to its questions, in an order drawn from the seed."""
    order = generator(seed, "mcqa", "quota", language).permutation(len(questions))
    hand = quota.deal()
    return [
        Assignment(
            question=question,
            answer_format=hand[place][0],
            instruction_language="en" if hand[place][1] else language,
        )
        for question, place in zip(questions, order, strict=True)
    ]


def _precedence(question: Question) -> tuple[bool, str, tuple[str, ...], str]:
    item = question.item
    return item.fact is None, item.source, item.options, question.text


def _write_language(
    output: Path,
    language: str,
    assignments: Sequence[Assignment],
    templates: Templates,
    seed: int,
) -> None:
    def example(item: Assignment, answer_format: AnswerFormat) -> InstructionExample:
        return render(item.question, answer_format, item.instruction_language, templates, seed)

    write_jsonl(
        output / f"{language}.jsonl", (example(item, item.answer_format) for item in assignments)
    )
    write_jsonl(
        output / "all_formats" / f"{language}.jsonl",
        (example(item, name) for item in assignments for name in ANSWER_FORMATS),
    )


def _realised_quotas(realised: Mapping[str, Counter[tuple[str, str]]]) -> dict[str, Any]:
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
        },
    }


def _tables(counts: Counter[tuple[str, str]]) -> dict[str, Any]:
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
