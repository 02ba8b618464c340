"""Which fact is asked in which language, in which words and in which source.

Each language asks about its own stretch of the facts, and the stretches overlap: a fact recurs in
about four languages, and in each about four times in different words, partly as an instruction and
partly as a multiple-choice question. So what is held out is a new wording, or a new language, of a
fact that was seen; wrong options are right answers to other questions of the same language.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from minilingua.core.errors import ParamsError
from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.core.seeding import generator
from minilingua.params import SampleParams
from minilingua.sources.sample.facts import (
    Fact,
    Statement,
    all_facts,
    choose_facts,
    state,
    wrong_answers,
)
from minilingua.sources.sample.wordings import TASK, ask, load_wordings

ROWS_PER_FACT = 4
"""Rows about one fact in one language, on average, instructions and questions together."""
NEIGHBOURS = ("en", "nl", "de", "sv", "fi", "pl", "cs", "bg", "el", "it", "es", "pt", "fr")
"""Languages in the order of their stretches: relatives share facts."""
SPECIAL_TEXTS = ("<|end|>", "</s><s>", "<|user|>", "[INST] <|im_end|>", "<|assistant|><|end|>")
"""Texts that spell control tokens of one tokenizer or another."""

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptRow:
    """One row of an instruction source, before it takes the form of that source."""

    instruction: str
    given: str
    """Input beside the instruction, often empty."""
    answer: str
    prompt: str
    """Both on one line, for sources without a column for the input."""
    fact: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRow:
    """One row of a multiple-choice source, before it takes the form of that source."""

    question: str
    right: str
    wrong: tuple[str, ...]
    """All plausible wrong answers, the best first."""
    fact: str

    def options(self, count: int, rng: np.random.Generator) -> list[str]:
        """Returns the right answer among at most ``count`` options, shuffled."""
        return shuffled([self.right, *self.wrong[: count - 1]], rng)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The rows of one language."""

    prompts: list[PromptRow]
    questions: list[QuestionRow]


def draw(sample: SampleParams, seed: int) -> dict[str, Drawn]:
    """Returns the rows of every natural language, in random order.

    Raises:
        ParamsError: there are fewer facts than asked for, or none for a language.
    """
    facts = choose_facts(sample.facts, seed)
    wanted = max(1, round((sample.instruction_rows + sample.mcqa_rows) / ROWS_PER_FACT))
    drawn: dict[str, Drawn] = {}
    for language in NATURAL_LANGUAGES:
        start = NEIGHBOURS.index(language) * len(facts) // len(NEIGHBOURS)
        circle = [*facts[start:], *facts[:start]]
        stretch = [fact for fact in circle if state(fact, language) is not None][:wanted]
        if not stretch:
            raise ParamsError(
                f"sources.sample.facts: {sample.facts} is too few: none can be asked in {language}"
            )
        rng = generator(seed, "sample", "draw", language)
        drawn[language] = Drawn(
            prompts=_prompts(stretch, language, sample.instruction_rows, rng),
            questions=_questions(stretch, facts, language, sample.mcqa_rows, rng),
        )
    return drawn


def _prompts(
    stretch: list[Fact], language: str, count: int, rng: np.random.Generator
) -> list[PromptRow]:
    words = load_wordings(language)
    special = shuffled(SPECIAL_TEXTS, rng)[: min(2, count // 20)]
    rows = [_task(words.echo, text, words.colon, text, None) for text in special]
    for row in range(count - len(special)):
        turn, index = divmod(row, len(stretch))
        fact = stretch[index]
        wording = (TASK, index % 3, (index + 1) % 3, (index + 2) % 3)[turn % 4]
        statement = _stated(fact, language)
        text = ask(fact.kind, wording, language, statement)
        given = statement.subject if wording == TASK else ""
        rows.append(_task(text, given, words.colon, statement.answer, fact.id))
    return shuffled(rows, rng)


def _task(instruction: str, given: str, colon: str, answer: str, fact: str | None) -> PromptRow:
    return PromptRow(
        instruction=instruction,
        given=given,
        prompt=f"{instruction.removesuffix('.')}{colon}{given}" if given else instruction,
        answer=answer,
        fact=fact,
    )


def _stated(fact: Fact, language: str) -> Statement:
    statement = state(fact, language)
    assert statement is not None, f"{fact.id} is not among what can be asked in {language}"
    return statement


def _questions(
    stretch: list[Fact], facts: list[Fact], language: str, count: int, rng: np.random.Generator
) -> list[QuestionRow]:
    rows = []
    for row in range(count):
        turn, index = divmod(row, len(stretch))
        # From the other end than the prompts, and in the wordings they use last.
        index = len(stretch) - 1 - index
        fact = stretch[index]
        statement = _stated(fact, language)
        rows.append(
            QuestionRow(
                question=ask(fact.kind, (index + 2 - turn) % 3, language, statement),
                right=statement.answer,
                wrong=tuple(
                    wrong_answers(
                        fact,
                        language,
                        [
                            *shuffled(stretch, rng),
                            *shuffled(facts, rng),
                            *all_facts()[fact.kind],
                        ],
                    )
                ),
                fact=fact.id,
            )
        )
    return shuffled(rows, rng)


def shuffled(items: Sequence[Item], rng: np.random.Generator) -> list[Item]:
    """Returns the items in random order."""
    return [items[index] for index in rng.permutation(len(items))]


def divide(rows: int, names: Sequence[str]) -> dict[str, int]:
    """Returns how many of ``rows`` each name gets: equal parts, the first ones one more."""
    each, more = divmod(rows, len(names)) if names else (0, 0)
    return {name: each + (index < more) for index, name in enumerate(names)}
