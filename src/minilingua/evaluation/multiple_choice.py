"""Multiple-choice questions of the test split, answered by likelihood.

    test conversations ─► their questions (``key``) ─► every answer format of each
         prompt + candidates ─► log-likelihood of each candidate ─► the likeliest is the answer

Two choices are scored. ``accuracy`` compares the mean log-likelihood per token, so that long
option texts are not at a disadvantage; ``accuracy_unnormalized`` compares the sum and is stated
where candidates are texts. Questions whose ``fact`` stands in the training split in another
wording or language are told apart from those that were never seen.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from minilingua.core.errors import DataError
from minilingua.core.files import read_jsonl, require
from minilingua.core.records import Choice, Conversation, InstructionExample, Message, Score, Split
from minilingua.evaluation.model import Request
from minilingua.evaluation.prompts import PromptEncoder
from minilingua.evaluation.scores import ALL, ModelName

CONVERSATIONS = Path("data/conversations")
ALL_FORMATS = Path("data/mcqa/all_formats")

TASK, SEEN, UNSEEN = "mcqa", "mcqa_seen_facts", "mcqa_unseen_facts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question in one answer format."""

    key: str
    language: str
    prompt: tuple[Message, ...]
    """The turns before the answer."""
    choice: Choice
    seen: bool | None
    """Whether the training split has its fact; None where the source does not tell facts."""

    @property
    def instruction(self) -> Literal["en", "native"]:
        """Whether the words around the question are English or in its own language."""
        return "en" if self.choice.instruction_language == "en" else "native"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Whether one model answered one question correctly."""

    by_mean: bool
    """The correct candidate has the highest mean log-likelihood per token."""
    by_sum: bool
    """The correct candidate has the highest summed log-likelihood."""


def load_questions(languages: Iterable[str], max_items: int | None) -> list[Question]:
    """Returns the questions of the test split in every answer format, by language and key.

    Args:
        languages: codes, in the order wanted.
        max_items: questions a language at most: those of the lowest keys, which are hashes.

    Raises:
        MissingInputError: a file of an earlier stage is missing.
        DataError: a row is malformed, a question of test is not among the formats, or there is
            no question at all.
    """
    languages = list(languages)
    seen_facts = {
        conversation.fact
        for language in languages
        for conversation in read_conversations("train", language)
        if conversation.fact is not None
    }
    questions: list[Question] = []
    for language in languages:
        keys = sorted({c.key for c in read_conversations("test", language) if c.task == "mcqa"})
        keys = keys[:max_items]
        if keys:
            questions += _questions_of_language(language, keys, seen_facts)
    if not questions:
        raise DataError(
            f"{CONVERSATIONS / 'test'} holds no multiple-choice question in "
            f"{', '.join(languages)}; raise curate.test or include a multiple-choice source"
        )
    return questions


def read_conversations(split: Split, language: str) -> Iterator[Conversation]:
    """Returns the conversations of a split and language.

    Raises:
        MissingInputError: there is no such file.
        DataError: on reading, a row is malformed.
    """
    path = require(CONVERSATIONS / split / f"{language}.jsonl", made_by="minilingua curate")
    return read_jsonl(path, Conversation)


def _questions_of_language(
    language: str, keys: Sequence[str], seen_facts: set[str]
) -> list[Question]:
    path = require(ALL_FORMATS / f"{language}.jsonl", made_by="minilingua mcqa")
    wanted = set(keys)
    found: dict[tuple[str, str, str], Question] = {}
    for number, example in enumerate(read_jsonl(path, InstructionExample), start=1):
        if example.key not in wanted:
            continue
        choice = _checked_choice(example, f"{path}:{number}")
        question = Question(
            key=example.key,
            language=language,
            prompt=example.messages[:-1],
            choice=choice,
            seen=None if example.fact is None else example.fact in seen_facts,
        )
        # Two sources may ask the same question: it counts once.
        found.setdefault((example.key, choice.answer_format, question.instruction), question)
    if missing := wanted - {key for key, _, _ in found}:
        raise DataError(
            f"{path} lacks question {min(missing)} of {CONVERSATIONS / 'test'}; "
            "run `dvc repro curate`"
        )
    return [found[name] for name in sorted(found)]


def _checked_choice(example: InstructionExample, where: str) -> Choice:
    choice = example.choice
    if choice is None:
        raise DataError(f"{where}: choice is missing in a multiple-choice example")
    if len(choice.candidates) < 2 or not 0 <= choice.answer < len(choice.candidates):
        raise DataError(
            f"{where}: choice.answer is {choice.answer}, but there are "
            f"{len(choice.candidates)} candidates"
        )
    if not all(choice.candidates):
        raise DataError(f"{where}: choice.candidates holds an empty text")
    return choice


def requests_of(questions: Iterable[Question], encoder: PromptEncoder) -> list[Request]:
    """Returns prompt and candidates of each question as token ids."""
    return [encoder.request(question.prompt, question.choice.candidates) for question in questions]


def judge(
    questions: Sequence[Question], likelihoods: Sequence[Sequence[npt.NDArray[np.float64]]]
) -> list[Outcome]:
    """Returns what a model answered.

    Args:
        questions: [n].
        likelihoods: [n][candidates][tokens] log-likelihoods, nats.
    """
    return [
        Outcome(
            by_mean=_argmax([float(c.mean()) for c in candidates]) == question.choice.answer,
            by_sum=_argmax([float(c.sum()) for c in candidates]) == question.choice.answer,
        )
        for question, candidates in zip(questions, likelihoods, strict=True)
    ]


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def accuracy_scores(
    model: ModelName, questions: Sequence[Question], outcomes: Sequence[Outcome]
) -> list[Score]:
    """Returns accuracy and chance for every task, language, format and instruction language.

    Groups without a question are left out. Standard errors are binomial.
    """
    groups: defaultdict[tuple[str, str, str, str], list[tuple[Question, Outcome]]]
    groups = defaultdict(list)
    for question, outcome in zip(questions, outcomes, strict=True):
        for group in product(
            _tasks(question),
            (question.language, ALL),
            (question.choice.answer_format, ALL),
            (question.instruction, ALL),
        ):
            groups[group].append((question, outcome))
    scores: list[Score] = []
    for (task, language, answer_format, instruction), members in groups.items():
        n = len(members)
        accuracy = sum(outcome.by_mean for _, outcome in members) / n
        unnormalized = sum(outcome.by_sum for _, outcome in members) / n
        chance = sum(1 / len(question.choice.candidates) for question, _ in members) / n
        figures: list[tuple[str, float, float | None]] = [
            ("accuracy", accuracy, binomial_stderr(accuracy, n)),
            ("chance", chance, None),
        ]
        if answer_format == "text":
            figures.append(
                ("accuracy_unnormalized", unnormalized, binomial_stderr(unnormalized, n))
            )
        scores += [
            Score(
                model=model,
                task=task,
                language=language,
                answer_format=answer_format,
                instruction_language=instruction,
                metric=metric,
                value=value,
                stderr=stderr,
                n=n,
            )
            for metric, value, stderr in figures
        ]
    return scores


def _tasks(question: Question) -> tuple[str, ...]:
    if question.seen is None:
        return (TASK,)
    return (TASK, SEEN if question.seen else UNSEEN)


def binomial_stderr(share: float, n: int) -> float:
    """Returns the standard error of a share of ``n`` independent yes-or-no outcomes."""
    return math.sqrt(share * (1 - share) / n)
