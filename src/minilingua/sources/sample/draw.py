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

from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.core.seeding import generator
from minilingua.params import SampleParams
from minilingua.sources.sample.facts import Fact, all_facts, choose_facts, state, wrong_answers
from minilingua.sources.sample.wordings import TASK, ask, echo_task

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
    fact: str | None

    @property
    def prompt(self) -> str:
        """Returns instruction and input as one line, for sources without an input column."""
        if not self.given:
            return self.instruction
        return f"{self.instruction.removesuffix('.')}: {self.given}"


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
        ParamsError: there are fewer facts than asked for.
    """
    facts = choose_facts(sample.facts, seed)
    wanted = max(1, round((sample.instruction_rows + sample.mcqa_rows) / ROWS_PER_FACT))
    drawn: dict[str, Drawn] = {}
    for language in NATURAL_LANGUAGES:
        start = NEIGHBOURS.index(language) * len(facts) // len(NEIGHBOURS)
        circle = [*facts[start:], *facts[:start]]
        stretch = [fact for fact in circle if state(fact, language) is not None][:wanted]
        rng = generator(seed, "sample", "draw", language)
        drawn[language] = Drawn(
            prompts=_prompts(stretch, language, sample.instruction_rows, rng),
            questions=_questions(stretch, facts, language, sample.mcqa_rows, rng),
        )
    return drawn


def _prompts(
    stretch: list[Fact], language: str, count: int, rng: np.random.Generator
) -> list[PromptRow]:
    echoes = [
        PromptRow(instruction=echo_task(language), given=text, answer=text, fact=None)
        for text in rng.choice(SPECIAL_TEXTS, size=min(2, count // 20), replace=False).tolist()
    ]
    rows = list(echoes)
    for row in range(count - len(echoes)):
        turn, index = divmod(row, len(stretch))
        fact = stretch[index]
        wording = (TASK, index % 3, (index + 1) % 3, (index + 2) % 3)[turn % 4]
        statement = state(fact, language)
        assert statement is not None
        rows.append(
            PromptRow(
                instruction=ask(fact.kind, wording, language, statement),
                given=statement.subject if wording == TASK else "",
                answer=statement.answer,
                fact=fact.id,
            )
        )
    return shuffled(rows, rng)


def _questions(
    stretch: list[Fact], facts: list[Fact], language: str, count: int, rng: np.random.Generator
) -> list[QuestionRow]:
    rows = []
    for row in range(count):
        turn, index = divmod(row, len(stretch))
        # From the other end than the prompts, and in the wordings they use last.
        index = len(stretch) - 1 - index
        fact = stretch[index]
        statement = state(fact, language)
        assert statement is not None
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
