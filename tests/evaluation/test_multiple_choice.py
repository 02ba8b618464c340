"""Which questions are asked, what counts as answered, and the figures made of it."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import read_jsonl, write_jsonl
from minilingua.core.records import ANSWER_FORMATS, Conversation, InstructionExample, Score
from minilingua.evaluation.multiple_choice import (
    Outcome,
    Question,
    accuracy_scores,
    binomial_stderr,
    judge,
    load_questions,
    requests_of,
)
from minilingua.evaluation.prompts import PromptEncoder

from .conftest import conversation_of, mcqa_example


def question(
    answer_format: str = "text",
    *,
    options: int = 4,
    answer: int = 0,
    seen: bool | None = None,
    language: str = "fi",
    instruction: str = "fi",
) -> Question:
    names = tuple(f"option {number}" for number in range(options))
    example = mcqa_example(
        "key",
        answer_format,
        language=language,
        instruction=instruction,
        options=names,
        answer=answer,
    )
    assert example.choice is not None
    return Question(
        key="key",
        language=language,
        prompt=example.messages[:-1],
        choice=example.choice,
        seen=seen,
    )


def figure(scores: list[Score], **wanted: Any) -> Score:
    found = [s for s in scores if all(getattr(s, name) == value for name, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


OVERALL = {"language": "all", "answer_format": "all", "instruction_language": "all"}


@pytest.mark.usefixtures("world")
def test_every_test_question_in_every_format() -> None:
    questions = load_questions(["en", "fi"], max_items=None)
    assert len(questions) == 2 * 4 * 3
    assert {q.choice.answer_format for q in questions} == set(ANSWER_FORMATS)
    assert {q.key for q in questions} == {f"{c}-key-{n}" for c in ("en", "fi") for n in range(4)}
    assert [q.language for q in questions] == sorted(q.language for q in questions)


def test_seen_means_that_the_fact_is_trained_on_in_any_language(world: Path) -> None:
    (world / "data/conversations/train/en.jsonl").write_text("")  # fi still has facts 0 and 1
    for item in load_questions(["en", "fi"], max_items=None):
        assert item.seen is (item.key[-1] in "01")


def test_questions_without_a_fact_are_neither_seen_nor_unseen(world: Path) -> None:
    path = world / "data/mcqa/all_formats/en.jsonl"
    rows = list(read_jsonl(path, InstructionExample))
    write_jsonl(path, [mcqa_example(row.key, "text", fact=None) for row in rows])
    questions = load_questions(["en"], max_items=None)
    assert [q.seen for q in questions] == [None] * 4
    scores = accuracy_scores("base", questions, [Outcome(by_mean=True, by_sum=True)] * 4)
    assert {score.task for score in scores} == {"mcqa"}


@pytest.mark.usefixtures("world")
def test_max_items_counts_questions_not_formats() -> None:
    questions = load_questions(["en", "fi"], max_items=1)
    assert [(q.key, q.choice.answer_format) for q in questions] == [
        (f"{language}-key-0", answer_format)
        for language in ("en", "fi")
        for answer_format in sorted(ANSWER_FORMATS)
    ]


def test_a_repeated_question_counts_once(world: Path) -> None:
    path = world / "data/mcqa/all_formats/en.jsonl"
    rows = list(read_jsonl(path, InstructionExample))
    write_jsonl(path, [*rows, *rows])
    assert len(load_questions(["en"], max_items=None)) == 4 * 3


def test_no_question_at_all(world: Path) -> None:
    for language in ("en", "fi"):
        path = world / f"data/conversations/test/{language}.jsonl"
        rows = [row for row in read_jsonl(path, Conversation) if row.task != "mcqa"]
        write_jsonl(path, rows)
    with pytest.raises(DataError, match="no multiple-choice question in en, fi"):
        load_questions(["en", "fi"], max_items=None)


def test_a_question_of_test_that_mcqa_does_not_know(world: Path) -> None:
    path = world / "data/conversations/test/en.jsonl"
    rows = list(read_jsonl(path, Conversation))
    write_jsonl(path, [*rows, conversation_of(mcqa_example("another"), 999)])
    with pytest.raises(DataError, match=r"all_formats/en\.jsonl lacks question another"):
        load_questions(["en"], max_items=None)


@pytest.mark.parametrize(
    ("missing", "stage"),
    [
        ("data/mcqa/all_formats/fi.jsonl", "minilingua mcqa"),
        ("data/conversations/train/fi.jsonl", "minilingua curate"),
        ("data/conversations/test/fi.jsonl", "minilingua curate"),
    ],
)
def test_missing_inputs_name_their_stage(world: Path, missing: str, stage: str) -> None:
    (world / missing).unlink()
    with pytest.raises(MissingInputError, match=f"{missing} is missing; `{stage}` makes it"):
        load_questions(["en", "fi"], max_items=None)


def test_a_malformed_choice_names_file_and_line(world: Path) -> None:
    path = world / "data/mcqa/all_formats/en.jsonl"
    write_jsonl(path, [mcqa_example("en-key-0", options=("one",), answer=0)])
    with pytest.raises(DataError, match=r"en\.jsonl:1: choice\.answer is 0, but there are 1 cand"):
        load_questions(["en"], max_items=1)


def test_requests_hold_one_branch_a_candidate(encoder: PromptEncoder) -> None:
    (request,) = requests_of([question("letter", options=3)], encoder)
    letters = [encoder.tokenizer.decode(branch) for branch in request.branches]
    assert letters == ["A", "B", "C"]


def test_mean_and_sum_may_disagree() -> None:
    long, short = np.array([-1.0, -1.0, -1.0]), np.array([-2.0])
    asked = question(options=2, answer=0)
    assert judge([asked], [[long, short]]) == [Outcome(by_mean=True, by_sum=False)]
    asked = question(options=2, answer=1)
    assert judge([asked], [[long, short]]) == [Outcome(by_mean=False, by_sum=True)]


def test_accuracy_chance_and_standard_error() -> None:
    questions = [question(options=n) for n in (2, 4, 4, 5)]
    right = Outcome(by_mean=True, by_sum=False)
    wrong = Outcome(by_mean=False, by_sum=False)
    scores = accuracy_scores("result", questions, [right, right, right, wrong])
    accuracy = figure(scores, metric="accuracy", **OVERALL)
    assert (accuracy.model, accuracy.value, accuracy.n) == ("result", 0.75, 4)
    assert accuracy.stderr == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
    chance = figure(scores, metric="chance", **OVERALL)
    assert chance.value == pytest.approx((1 / 2 + 1 / 4 + 1 / 4 + 1 / 5) / 4)
    assert chance.stderr is None
    of_sums = figure(scores, metric="accuracy_unnormalized", **OVERALL | {"answer_format": "text"})
    assert of_sums.value == 0


@pytest.mark.parametrize(
    ("share", "n", "expected"), [(0.0, 10, 0.0), (1.0, 3, 0.0), (0.5, 100, 0.05), (0.2, 4, 0.2)]
)
def test_binomial_stderr(share: float, n: int, expected: float) -> None:
    assert binomial_stderr(share, n) == pytest.approx(expected)


def test_groups_are_counted_apart_and_together() -> None:
    questions = [
        question("text", language="fi", instruction="fi", seen=True),
        question("letter", language="fi", instruction="en", seen=False),
        question("text", language="en", instruction="en", seen=True),
    ]
    outcomes = [Outcome(by_mean=right, by_sum=right) for right in (True, False, False)]
    scores = accuracy_scores("base", questions, outcomes)

    def accuracy(**group: str) -> tuple[float, int]:
        score = figure(scores, metric="accuracy", **{"task": "mcqa", **OVERALL, **group})
        return score.value, score.n

    assert accuracy() == (1 / 3, 3)
    assert accuracy(language="fi") == (1 / 2, 2)
    assert accuracy(answer_format="text") == (1 / 2, 2)
    assert accuracy(instruction_language="native") == (1, 1)
    assert accuracy(instruction_language="en") == (0, 2)
    assert accuracy(task="mcqa_seen_facts") == (1 / 2, 2)
    assert accuracy(task="mcqa_unseen_facts") == (0, 1)
    assert not [s for s in scores if s.language == "en" and s.instruction_language == "native"]
