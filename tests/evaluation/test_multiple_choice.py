"""Which questions are asked, what counts as answered, and the figures made of it."""

from pathlib import Path

import numpy as np
import pytest

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import read_jsonl, write_jsonl
from minilingua.core.records import ANSWER_FORMATS, Conversation, InstructionExample
from minilingua.evaluation.multiple_choice import (
    Question,
    by_generation,
    by_likelihood,
    generated_questions,
    load_questions,
    prompts_of,
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
        fact=example.fact,
        seen=seen,
    )


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
    likelihoods = [[np.array([-1.0])] * len(q.choice.candidates) for q in questions]
    assert {item.subsets for item in by_likelihood("base", questions, likelihoods)} == {()}


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
    for answer, by_mean, by_sum in ((0, 1.0, 0.0), (1, 0.0, 1.0)):
        asked = question(options=2, answer=answer)
        (item,) = by_likelihood("base", [asked], [[long, short]])
        assert item.values == {
            "accuracy": (by_mean, 1.0),
            "accuracy_unnormalized": (by_sum, 1.0),
            "chance": (0.5, 1.0),
        }
        assert (item.model, item.task, item.item) == ("base", "mcqa", "key")
        assert (item.answer_format, item.instruction_language) == ("text", "native")


def test_generated_answers_are_right_wrong_or_unparsable() -> None:
    asked = question("letter", options=4, answer=1, seen=True, instruction="en")
    answers = ["**B)** option 1", "C", "I do not know."]
    items = by_generation("result", [asked] * 3, answers)
    assert [item.values["accuracy"][0] for item in items] == [1.0, 0.0, 0.0]
    assert [item.values["unparsable"][0] for item in items] == [0.0, 0.0, 1.0]
    assert [item.values["chance"] for item in items] == [(0.25, 1.0)] * 3
    assert {(i.task, i.subsets, i.instruction_language) for i in items} == {
        ("mcqa_generated", ("seen_facts",), "en")
    }


@pytest.mark.usefixtures("world")
def test_the_first_questions_of_a_language_are_generated_in_all_forms() -> None:
    questions = load_questions(["en", "fi"], max_items=None)
    chosen = generated_questions(questions, 2)
    assert {(q.language, q.key) for q in chosen} == {
        (language, f"{language}-key-{number}") for language in ("en", "fi") for number in (0, 1)
    }
    assert len(chosen) == 2 * 2 * 3
    assert generated_questions(questions, None) == questions
    assert generated_questions(questions, 0) == []


def test_a_prompt_leaves_room_for_the_longest_candidate(encoder: PromptEncoder) -> None:
    asked = question(options=2)
    (request,), (prompt,) = requests_of([asked], encoder), prompts_of([asked], encoder)
    assert prompt.tokens == request.prefix
    longest = max(map(len, request.branches))
    assert longest + 8 <= prompt.limit < longest + 16
    assert prompt.limit % 8 == 0
