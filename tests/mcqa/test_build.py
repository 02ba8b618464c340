from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.core.records import MultipleChoiceItem
from minilingua.mcqa.build import (
    MAX_OPTION_CHARACTERS,
    Question,
    one_line,
    question_key,
    select,
)


def item(
    question: str = "What flows through Vienna?",
    options: tuple[str, ...] = ("the Seine", "the Danube", "the Rhine", "the Po", "the Tiber"),
    answer: int = 1,
    language: str = "en",
    row: str = "exams/x.jsonl:1",
    source: str = "exams",
) -> MultipleChoiceItem:
    return MultipleChoiceItem(
        source=source, row=row, language=language, question=question, options=options, answer=answer
    )


def selected(source: MultipleChoiceItem, shown_options: int = 4, seed: int = 7) -> Question:
    question = select(source, shown_options, seed)
    assert isinstance(question, Question)
    return question


def test_the_correct_option_survives_sampling_and_moves() -> None:
    many = tuple(f"option {index}" for index in range(30))
    places = set()
    for seed in range(40):
        question = selected(item(options=many, answer=29), seed=seed)
        assert len(question.options) == 4
        assert len(set(question.options)) == 4
        assert question.options[question.answer] == "option 29"
        places.add(question.answer)
    assert places == {0, 1, 2, 3}


@given(count=st.integers(2, 60), shown=st.integers(2, 26), data=st.data())
def test_any_number_of_options_and_any_place_of_the_answer(
    count: int, shown: int, data: st.DataObject
) -> None:
    options = tuple(f"option {index}" for index in range(count))
    answer = data.draw(st.integers(0, count - 1))
    question = selected(item(options=options, answer=answer), shown)
    assert len(set(question.options)) == len(question.options) == min(count, shown)
    assert set(question.options) <= set(options)
    assert question.options[question.answer] == options[answer]


def test_all_orders_and_all_distractors_are_about_as_frequent() -> None:
    options = ("right", "a", "b", "c", "d")
    orders = Counter(
        selected(item(question=f"{number}?", options=options, answer=0), 3).options
        for number in range(7200)
    )
    assert len(orders) == 36  # 6 pairs of distractors in 6 orders
    assert all(abs(count - 200) < 65 for count in orders.values())  # 4.6 standard deviations


@given(st.text())
def test_an_option_is_one_line(text: str) -> None:
    assert one_line(text) == " ".join(text.split())


def test_white_space_in_options_becomes_single_spaces() -> None:
    question = selected(item(options=("one\n  two", "three\tfour "), answer=0))
    assert question.options[question.answer] == "one two"
    assert set(question.options) == {"one two", "three four"}


def test_long_distractors_are_not_shown() -> None:
    long = "x" * (MAX_OPTION_CHARACTERS + 1)
    question = selected(item(options=("right", long, "wrong"), answer=0))
    assert set(question.options) == {"right", "wrong"}
    longest = long[1:]
    assert set(selected(item(options=("right", longest), answer=0)).options) == {"right", longest}


@pytest.mark.parametrize(
    ("question", "options", "answer", "reason"),
    [
        (" \n", ("a", "b"), 0, "empty_question"),
        ("Q?", ("a", " "), 0, "empty_option"),
        ("Q?", ("Paris ", "Paris", "Rome"), 0, "repeated_answer"),
        ("Q?", ("caf\u00e9", "cafe\u0301", "Rome"), 0, "repeated_answer"),
        ("Q?", ("a",), 0, "too_few_options"),
        ("Q?", ("a" * (MAX_OPTION_CHARACTERS + 1), "b"), 0, "option_too_long"),
        ("Q?", ("a", "b" * (MAX_OPTION_CHARACTERS + 1)), 0, "option_too_long"),
        ("Q\ud800?", ("a", "b"), 0, "not_unicode"),
        ("Q?", ("a", "b\udfff"), 0, "not_unicode"),
    ],
)
def test_what_cannot_be_asked_has_a_reason(
    question: str, options: tuple[str, ...], answer: int, reason: str
) -> None:
    assert select(item(question, options, answer), 4, 7) == reason


def test_repeated_distractors_are_shown_once() -> None:
    question = selected(item(options=("a", "b", "b ", "c"), answer=0))
    assert sorted(question.options) == ["a", "b", "c"]
    question = selected(item(options=("a", "\u00e9", "e\u0301"), answer=0))
    assert sorted(question.options) == ["a", "\u00e9"]


def test_an_accent_of_its_own_makes_no_other_question() -> None:
    assert question_key("fr", "Caf\u00e9?", "\u00e9t\u00e9") == question_key(
        "fr", "Cafe\u0301?", "e\u0301te\u0301"
    )


def test_case_tells_options_apart() -> None:
    """As in questions about genotypes."""
    question = selected(item(options=("AaBb", "aabb", "AABB"), answer=0))
    assert set(question.options) == {"AaBb", "aabb", "AABB"}


@settings(max_examples=30)
@given(st.text(min_size=1).filter(str.strip), st.sampled_from(NATURAL_LANGUAGES))
def test_the_key_is_blind_to_case_and_spaces_only(text: str, language: str) -> None:
    spaced = f"  {text}\n"
    assert question_key(language, text, "Answer") == question_key(language, spaced, "ANSWER ")
    assert question_key(language, text, "Answer") != question_key(language, text, "Another")
    assert question_key("en", text, "Answer") != question_key("el", text, "Answer")


def test_the_same_seed_gives_the_same_question_and_another_seed_another_order() -> None:
    assert selected(item()) == selected(item())
    assert len({selected(item(), seed=seed).options for seed in range(20)}) > 5
