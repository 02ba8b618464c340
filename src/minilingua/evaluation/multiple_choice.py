"""Multiple-choice questions of the test split, answered by likelihood and by generation.

    test conversations ─► their questions (``key``) ─► every answer format of each
         prompt + candidates ─► log-likelihood of each candidate ─► the likeliest is the answer
         prompt ─► greedy answer ─► the candidate that it names (``answers``), or none

Two choices by likelihood are scored. ``accuracy`` compares the mean log-likelihood per token, so
that long option texts are not at a disadvantage; ``accuracy_unnormalized`` compares the sum and is
stated where candidates are texts. Questions whose ``fact`` stands in the training split in another
wording or language are told apart from those that were never seen.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from minilingua.core.errors import DataError
from minilingua.core.files import read_jsonl, require
from minilingua.core.records import (
    Choice,
    Conversation,
    InstructionExample,
    ItemResult,
    Message,
    ModelName,
    Split,
)
from minilingua.evaluation.answers import extract
from minilingua.evaluation.generation import Prompt
from minilingua.evaluation.model import Request
from minilingua.evaluation.prompts import PromptEncoder

CONVERSATIONS = Path("data/conversations")
ALL_FORMATS = Path("data/mcqa/all_formats")

TASK, GENERATED_TASK = "mcqa", "mcqa_generated"
SEEN, UNSEEN = "seen_facts", "unseen_facts"
_ROOM = 8
"""Tokens of a generated answer beside its candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question in one answer format."""

    key: str
    language: str
    prompt: tuple[Message, ...]
    """The turns before the answer."""
    choice: Choice
    fact: str | None
    """What is asked, in whatever wording or language; None where the source does not tell."""
    seen: bool | None
    """Whether the training split has its fact; None where the source does not tell facts."""

    @property
    def instruction(self) -> Literal["en", "native"]:
        """Whether the words around the question are English or in its own language."""
        return "en" if self.choice.instruction_language == "en" else "native"


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
            fact=example.fact,
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


def by_likelihood(
    model: ModelName,
    questions: Sequence[Question],
    likelihoods: Sequence[Sequence[npt.NDArray[np.float64]]],
) -> list[ItemResult]:
    """Returns whether the likeliest candidate is the right one.

    Args:
        model: whose likelihoods they are.
        questions: [n].
        likelihoods: [n][candidates][tokens] log-likelihoods, nats.
    """
    results = []
    for question, candidates in zip(questions, likelihoods, strict=True):
        right = question.choice.answer
        values = {
            "accuracy": _hit(_argmax([float(c.mean()) for c in candidates]), right),
            "chance": (1 / len(candidates), 1.0),
        }
        if question.choice.answer_format == "text":
            summed = _argmax([float(c.sum()) for c in candidates])
            values["accuracy_unnormalized"] = _hit(summed, right)
        results.append(_result(model, TASK, question, values))
    return results


def generated_questions(questions: Iterable[Question], count: int | None) -> list[Question]:
    """Returns the questions that are answered by generation as well, in all their forms.

    Args:
        questions: of ``load_questions``.
        count: questions a language at most, the first ones; None: all.
    """
    keys: defaultdict[str, dict[str, None]] = defaultdict(dict)
    chosen = []
    for question in questions:
        of_language = keys[question.language]
        if question.key in of_language or count is None or len(of_language) < count:
            of_language[question.key] = None
            chosen.append(question)
    return chosen


def prompts_of(questions: Iterable[Question], encoder: PromptEncoder) -> list[Prompt]:
    """Returns the questions as token ids, with room for the longest candidate and some words."""
    prompts = []
    for request in requests_of(questions, encoder):
        longest = max(map(len, request.branches))
        limit = -(-(longest + _ROOM) // _ROOM) * _ROOM  # multiples, so that batches fill up
        prompts.append(Prompt(tokens=request.prefix, limit=limit))
    return prompts


def by_generation(
    model: ModelName, questions: Sequence[Question], answers: Sequence[str]
) -> list[ItemResult]:
    """Returns whether the generated answers name the right candidate.

    Args:
        model: whose answers they are.
        questions: [n].
        answers: [n] as text.
    """
    results = []
    for question, answer in zip(questions, answers, strict=True):
        choice = question.choice
        found = extract(choice.answer_format, answer, choice.candidates, choice.options)
        values = {
            "accuracy": _hit(found, choice.answer),
            "chance": (1 / len(choice.candidates), 1.0),
            "unparsable": (float(found is None), 1.0),
        }
        results.append(_result(model, GENERATED_TASK, question, values))
    return results


def _hit(found: int | None, right: int) -> tuple[float, float]:
    return float(found == right), 1.0


def _argmax(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _result(
    model: ModelName, task: str, question: Question, values: dict[str, tuple[float, float]]
) -> ItemResult:
    subsets: tuple[str, ...] = ()
    if question.seen is not None:
        subsets = (SEEN if question.seen else UNSEEN,)
    return ItemResult(
        model=model,
        task=task,
        item=question.key,
        language=question.language,
        answer_format=question.choice.answer_format,
        instruction_language=question.instruction,
        subsets=subsets,
        values=values,
        fact=question.fact,
    )
