"""Writes the sample of every source."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from minilingua.core.languages import CODE, NATURAL_LANGUAGES
from minilingua.core.seeding import generator
from minilingua.params import SampleParams
from minilingua.sources.sample.code import code_rows
from minilingua.sources.sample.draw import Item, PromptRow, QuestionRow, divide, draw
from minilingua.sources.sample.instruction_layouts import INSTRUCTION_LAYOUTS, SHARED_PROMPTS
from minilingua.sources.sample.multiple_choice_layouts import MULTIPLE_CHOICE_LAYOUTS
from minilingua.sources.sample.writers import SourceWriter
from minilingua.sources.spec import Kind, load_spec

LICENCE = "Unicode-3.0"
"""Licence of CLDR, where every fact and name comes from."""


def generate(
    raw: Path, sources: Sequence[str], languages: Sequence[str], sample: SampleParams, seed: int
) -> None:
    """Writes the native files of the sources below ``raw``, one directory each.

    A language's rows are divided among the sources that cover it. What one language gets does not
    depend on which others are asked for.

    Raises:
        ParamsError: there are fewer facts than asked for.
    """
    prompts: dict[str, dict[str, Sequence[PromptRow]]] = {name: {} for name in sources}
    questions: dict[str, dict[str, Sequence[QuestionRow]]] = {name: {} for name in sources}
    drawn = draw(sample, seed)
    for language in NATURAL_LANGUAGES:
        if language not in languages:
            continue
        _deal(
            prompts, _covering(sources, "instruction", language), language, drawn[language].prompts
        )
        _deal(
            questions,
            _covering(sources, "multiple_choice", language),
            language,
            drawn[language].questions,
        )
        _share(prompts, language)
    if CODE in languages:
        for name in _covering(sources, "code", CODE):
            prompts[name][CODE] = code_rows(sample.code_rows, seed)

    for name in tqdm(sources, desc="sample", unit="source", disable=None):
        writer = SourceWriter(raw / name)
        if name in INSTRUCTION_LAYOUTS and prompts[name]:
            INSTRUCTION_LAYOUTS[name](writer, prompts[name])
        elif name in MULTIPLE_CHOICE_LAYOUTS and questions[name]:
            rng = generator(seed, "sample", "layout", name)
            MULTIPLE_CHOICE_LAYOUTS[name](writer, questions[name], rng)
        writer.finish()


def _covering(sources: Sequence[str], kind: Kind, language: str) -> list[str]:
    specs = {name: load_spec(name) for name in sources}
    return [
        name for name, spec in specs.items() if spec.kind == kind and language in spec.languages
    ]


def _deal(
    parts: dict[str, dict[str, Sequence[Item]]],
    names: list[str],
    language: str,
    rows: Sequence[Item],
) -> None:
    start = 0
    for name, count in divide(len(rows), names).items():
        parts[name][language] = rows[start : start + count]
        start += count


def _share(prompts: dict[str, dict[str, Sequence[PromptRow]]], language: str) -> None:
    """Lets Alpaca repeat a few rows of Bactrian-X, whose prompts are Alpaca's."""
    known = prompts.get("bactrian_x", {}).get(language, ())
    own = prompts.get("alpaca", {}).get(language, ())
    shared = min(SHARED_PROMPTS, len(known), len(own) // 2)
    if shared:
        prompts["alpaca"][language] = [*own[:-shared], *known[:shared]]
