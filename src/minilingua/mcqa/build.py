"""One multiple-choice item to examples: which options are shown, in which order, in which words.

    MultipleChoiceItem ─► select ─► Question ─► render (answer format, instruction) ─► example
                             └────► reason to drop it

Every choice is drawn from a seed derived from (root seed, the question's key), so an item gets the
same options and words whatever stands beside it.

How options are listed follows the answer: ``A. ..`` for letters, ``1. ..`` for numbers, ``- ..``
for full text, where a label would offer a second way to answer. Letters are Latin in every
language, as in EXAMS (Bulgarian included) and INCLUDE. An option is one line: white space in it,
line breaks included, becomes single spaces, and a full-text answer repeats exactly that line.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass

from minilingua.core.records import (
    AnswerFormat,
    Choice,
    InstructionExample,
    Message,
    MultipleChoiceItem,
)
from minilingua.core.seeding import content_id, derive_seed, generator
from minilingua.mcqa.templates import Template

MAX_OPTION_CHARACTERS = 700
"""Longer options are not shown. Four of this length and the answer once more are 3,500
characters, about 900 tokens: with its question such an item stays under curation's usual limit of
4,000 characters and well inside 2,048 tokens. Of real SweFAQ answers this keeps three quarters;
no option of EXAMS comes near it."""

Templates = Mapping[str, Mapping[AnswerFormat, tuple[Template, ...]]]
"""Language of the instruction ─► answer format ─► wordings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An item ready to be asked: its shown options, cleaned and in their shown order."""

    item: MultipleChoiceItem
    key: str
    """``content_id`` of language, question and correct answer; equal in every format."""
    text: str
    """The bare question, without white space around it."""
    options: tuple[str, ...]
    """Shown options, each one line, all different."""
    answer: int
    """0-based index of the correct one in ``options``."""


def question_key(language: str, question: str, answer: str) -> str:
    """Returns the identity of what is asked, blind to case and white space."""
    return content_id("\x1f".join([language, normalise(question), normalise(answer)]))


def normalise(text: str) -> str:
    """Returns text with case folded and white space single, for comparing."""
    return one_line(text).casefold()


def one_line(text: str) -> str:
    """Returns text with every run of white space as one space."""
    return " ".join(text.split())


def select(item: MultipleChoiceItem, shown_options: int, seed: int) -> Question | str:
    """Chooses and orders the options that an item shows, or says why it cannot be asked.

    The correct option always stays. Distractors that are longer than ``MAX_OPTION_CHARACTERS`` or
    repeat another one are never shown; of the others as many are drawn as fit.

    Args:
        item: an item from a reader.
        shown_options: options shown at most; an item with fewer shows fewer.
        seed: root seed.

    Returns:
        The question, or the reason to drop it: ``empty_question``, ``empty_option``,
        ``option_too_long`` (the correct one, or all others), ``repeated_answer`` (a distractor
        equals the correct option) or ``too_few_options``.
    """
    options = [one_line(option) for option in item.options]
    correct = options[item.answer]
    # Case tells options apart: the genotypes AABB and aabb are two answers.
    others = dict.fromkeys(options[: item.answer] + options[item.answer + 1 :])
    short = [option for option in others if len(option) <= MAX_OPTION_CHARACTERS]
    reason = None
    if not item.question.strip():
        reason = "empty_question"
    elif "" in options:
        reason = "empty_option"
    elif correct in others:
        reason = "repeated_answer"
    elif not others:
        reason = "too_few_options"
    elif len(correct) > MAX_OPTION_CHARACTERS or not short:
        reason = "option_too_long"
    if reason is not None:
        return reason
    key = question_key(item.language, item.question, correct)
    draw = generator(seed, "mcqa", "options", key)
    drawn = draw.permutation(len(short))[: shown_options - 1]
    shown = [correct, *(short[index] for index in drawn)]
    order = [int(index) for index in draw.permutation(len(shown))]
    return Question(
        item=item,
        key=key,
        text=item.question.strip(),
        options=tuple(shown[index] for index in order),
        answer=order.index(0),
    )


def render(
    question: Question,
    answer_format: AnswerFormat,
    instruction_language: str,
    templates: Templates,
    seed: int,
) -> InstructionExample:
    """Asks a question in one answer format, with an instruction in the given language."""
    labels, candidates = _labels(question.options, answer_format)
    wordings = templates[instruction_language][answer_format]
    names = ("mcqa", "template", answer_format, instruction_language, question.key)
    template = wordings[derive_seed(seed, *names) % len(wordings)]
    listed = "\n".join(
        f"{label} {option}" for label, option in zip(labels, question.options, strict=True)
    )
    return InstructionExample(
        source=question.item.source,
        row=question.item.row,
        language=question.item.language,
        task="mcqa",
        messages=(
            Message(role="user", content=template.fill(question.text, listed)),
            Message(role="assistant", content=candidates[question.answer]),
        ),
        key=question.key,
        choice=Choice(
            question=question.text,
            options=question.options,
            candidates=candidates,
            answer=question.answer,
            answer_format=answer_format,
            instruction_language=instruction_language,
        ),
        fact=question.item.fact,
    )


def _labels(
    options: tuple[str, ...], answer_format: AnswerFormat
) -> tuple[list[str], tuple[str, ...]]:
    """Returns what stands before each option, and what answers it."""
    if answer_format == "text":
        return ["-"] * len(options), options
    names = string.ascii_uppercase if answer_format == "letter" else range(1, len(options) + 1)
    candidates = tuple(str(name) for name, _ in zip(names, options, strict=False))
    return [f"{candidate}." for candidate in candidates], candidates
