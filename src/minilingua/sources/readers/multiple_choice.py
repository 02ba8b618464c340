"""Readers of multiple-choice sources: where options and key stand, and what the key points at."""

from collections.abc import Sequence
from typing import Any

from minilingua.sources.readers.rows import (
    Question,
    RejectedRowError,
    UnexpectedShapeError,
    lookup,
    text,
    texts,
)

_LETTERED = ("option_a", "option_b", "option_c", "option_d")


def keyed(values: dict[str, Any]) -> Question:
    """Reads EXAMS and ARC: labelled options and ``answerKey``.

    Releases nest stem and choices in ``question``; the hub's form of ARC does not. Choices are a
    list of {text, label}, or a mapping of two lists (EXAMS adds a third, ``para``). Labels are
    letters or the digits 1-4: the key is looked up among them, never computed. A key that is none
    of them may be the text of one option, unless it is a single character: that was meant to be a
    label.
    """
    nested = isinstance(values.get("question"), dict)
    stem = text(values, "question", "stem") if nested else text(values, "question")
    path = ("question", "choices") if nested else ("choices",)
    labels, options = _labelled(lookup(values, *path), ".".join(path))
    key = text(values, "answerKey")
    if len(key) > 1 and key not in labels and options.count(key) == 1:
        return question(stem, options, options.index(key))
    return question(stem, options, resolve(labels, key, "answerKey"))


def numbered_candidates(values: dict[str, Any]) -> Question:
    """Reads SweFAQ: ``candidate_answers`` and the 0-based ``label``; keeps all candidates."""
    options = texts(lookup(values, "candidate_answers"), "candidate_answers")
    return question(text(values, "question"), options, _position(values, "label", len(options)))


def labelled_targets(values: dict[str, Any]) -> Question:
    """Reads TruthfulQA's ``mc1_targets``: choices and labels, exactly one of them 1."""
    options = texts(lookup(values, "mc1_targets", "choices"), "mc1_targets.choices")
    labels = lookup(values, "mc1_targets", "labels")
    if not isinstance(labels, list) or len(labels) != len(options):
        raise UnexpectedShapeError(
            f"mc1_targets.labels: expected one for each of {len(options)} choices, "
            f"found {labels!r:.60}"
        )
    if sum(label == 1 for label in labels) != 1:
        raise RejectedRowError(
            "key_outside_options", f"mc1_targets.labels {labels!r} do not mark one choice"
        )
    return question(text(values, "question"), options, labels.index(1))


def lettered_columns(values: dict[str, Any]) -> Question:
    """Reads INCLUDE: ``option_a`` to ``option_d`` (at first: ``choices``), 0-based ``answer``."""
    if "choices" in values:
        options = texts(values["choices"], "choices")
    else:
        options = [text(values, name) for name in _LETTERED]
    return question(text(values, "question"), options, _position(values, "answer", len(options)))


def question(stem: str, options: Sequence[str], answer: int) -> Question:
    """Checks what every multiple-choice row has to satisfy.

    A wrong option that is empty or stands there already is left out: translations lose some or give
    two the same words, and the others are sound.

    Raises:
        RejectedRowError: the question or its answer is empty, its options are too few, or a wrong
            one equals the correct one.
    """
    if not stem:
        raise RejectedRowError("empty_question", "the question is empty")
    if len(options) < 2:
        raise RejectedRowError("too_few_options", f"{len(options)} option, at least 2 are needed")
    if not options[answer]:
        raise RejectedRowError("empty_answer", "the correct option is empty")
    answer -= options[:answer].count("")
    options = [option for option in options if option]
    if len(options) < 2:
        raise RejectedRowError("empty_option", "all options but the correct one are empty")
    correct = options[answer]
    if options.count(correct) > 1:
        raise RejectedRowError("duplicate_options", f"correct option {correct!r:.60} stands twice")
    distinct = tuple(dict.fromkeys(options))
    return Question(question=stem, options=distinct, answer=distinct.index(correct))


def resolve(labels: Sequence[str], key: str, column: str) -> int:
    """Returns the 0-based position of a key among the labels.

    Raises:
        RejectedRowError: it is not one of them, or stands for two options.
    """
    shown = ", ".join(labels)
    if key not in labels:
        raise RejectedRowError(
            "key_outside_options", f"{column} {key!r} is not among the labels {shown}"
        )
    if labels.count(key) > 1:
        raise RejectedRowError("ambiguous_key", f"{column} {key!r} stands twice in {shown}")
    return labels.index(key)


def _position(values: dict[str, Any], column: str, options: int) -> int:
    value = lookup(values, column)
    if isinstance(value, bool) or not isinstance(value, int | None):
        raise UnexpectedShapeError(f"{column}: expected a whole number, found {value!r:.60}")
    if value is None or not 0 <= value < options:
        raise RejectedRowError(
            "key_outside_options", f"{column} {value} is not in 0 to {options - 1}"
        )
    return value


def _labelled(choices: Any, where: str) -> tuple[list[str], list[str]]:
    if isinstance(choices, list):
        if not all(isinstance(choice, dict) for choice in choices):
            raise UnexpectedShapeError(f"{where}: expected objects, found {choices!r:.60}")
        labels = [text(choice, "label") for choice in choices]
        return labels, [text(choice, "text") for choice in choices]
    labels = texts(lookup({where: choices}, where, "label"), f"{where}.label")
    options = texts(lookup({where: choices}, where, "text"), f"{where}.text")
    if len(labels) != len(options):
        raise UnexpectedShapeError(f"{where}: {len(labels)} labels for {len(options)} texts")
    return labels, options
