import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.core.records import (
    ANSWER_FORMATS,
    AnswerFormat,
    InstructionExample,
    MultipleChoiceItem,
)
from minilingua.mcqa.build import MAX_OPTION_CHARACTERS, Question, question_key, render, select
from minilingua.mcqa.templates import load_templates

TEMPLATES = {language: load_templates(language) for language in NATURAL_LANGUAGES}


def item(
    question: str = "What flows through Vienna?",
    options: tuple[str, ...] = ("the Seine", "the Danube", "the Rhine", "the Po", "the Tiber"),
    answer: int = 1,
    language: str = "en",
) -> MultipleChoiceItem:
    return MultipleChoiceItem(
        source="exams",
        row="exams/x.jsonl:1",
        language=language,
        question=question,
        options=options,
        answer=answer,
    )


def selected(source: MultipleChoiceItem, shown_options: int = 4, seed: int = 7) -> Question:
    question = select(source, shown_options, seed)
    assert isinstance(question, Question)
    return question


def answer_read_back(example: InstructionExample) -> str:
    """Returns the option that the assistant names, found from the two messages alone."""
    prompt, reply = (message.content for message in example.messages)
    listed = [
        found.groups() for found in re.finditer(r"^(-|[A-Z]\.|\d+\.) (.+)$", prompt, re.MULTILINE)
    ]
    named = {label.removesuffix("."): option for label, option in listed}
    if "-" in named:
        assert reply in [option for _, option in listed]
        return reply
    return named[reply]


WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


@given(
    question=st.lists(WORDS, min_size=1, max_size=6).map(" ".join),
    options=st.lists(WORDS, min_size=2, max_size=9, unique=True),
    data=st.data(),
    shown=st.integers(2, 6),
    seed=st.integers(0, 1000),
    language=st.sampled_from(NATURAL_LANGUAGES),
)
def test_the_right_answer_can_be_read_back_from_the_prompt(
    question: str, options: list[str], data: st.DataObject, shown: int, seed: int, language: str
) -> None:
    answer = data.draw(st.integers(0, len(options) - 1))
    source = item(f"{question}?", tuple(options), answer, language)
    chosen = selected(source, shown, seed)
    assert len(chosen.options) <= min(shown, len(options))
    assert set(chosen.options) <= set(options)
    for answer_format in ANSWER_FORMATS:
        for instruction in dict.fromkeys([language, "en"]):
            example = render(chosen, answer_format, instruction, TEMPLATES, seed)
            assert answer_read_back(example) == options[answer]
            assert example.choice is not None
            assert example.choice.candidates[example.choice.answer] == example.messages[-1].content
            assert example.choice.options[example.choice.answer] == options[answer]
            assert example.key == chosen.key


def test_labels_count_what_is_shown() -> None:
    three = selected(item(options=("a", "b", "c"), answer=2))
    letters = render(three, "letter", "en", TEMPLATES, 7).choice
    numbers = render(three, "number", "en", TEMPLATES, 7).choice
    texts = render(three, "text", "en", TEMPLATES, 7).choice
    assert letters is not None
    assert numbers is not None
    assert texts is not None
    assert letters.candidates == ("A", "B", "C")
    assert numbers.candidates == ("1", "2", "3")
    assert texts.candidates == three.options


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


def test_formats_of_one_question_show_the_same_list() -> None:
    question = selected(item())
    shown = {render(question, name, "en", TEMPLATES, 7).choice for name in ANSWER_FORMATS}
    assert len({(choice.options, choice.answer) for choice in shown if choice}) == 1


def test_the_template_depends_on_the_question() -> None:
    frames = set()
    for number in range(100):
        question = selected(item(question=f"Number {number:03}?"))
        example = render(question, "text", "en", TEMPLATES, 7)
        prompt = example.messages[0].content
        listed = "\n".join(f"- {option}" for option in question.options)
        frames.add(prompt.replace(question.text, "Q").replace(listed, "O"))
    assert len(frames) == len(TEMPLATES["en"]["text"])


@pytest.mark.parametrize("text", ["{question}", "{options}", "{0} {{}} %s \\1 }{"])
@pytest.mark.parametrize("answer_format", ANSWER_FORMATS)
def test_braces_are_text(text: str, answer_format: AnswerFormat) -> None:
    question = selected(item(question=f"What is {text}?", options=(f"a {text}", "b", "{c}")))
    example = render(question, answer_format, "en", TEMPLATES, 7)
    assert f"What is {text}?" in example.messages[0].content
    assert f" a {text}" in example.messages[0].content
    assert answer_read_back(example) == "b"


def test_an_option_is_one_line() -> None:
    question = selected(item(options=("one\n  two", "three\tfour"), answer=0))
    example = render(question, "text", "en", TEMPLATES, 7)
    assert example.messages[-1].content == "one two"
    assert answer_read_back(example) == "one two"


def test_long_distractors_are_not_shown() -> None:
    long = "x" * (MAX_OPTION_CHARACTERS + 1)
    question = selected(item(options=("right", long, "wrong"), answer=0))
    assert set(question.options) == {"right", "wrong"}


@pytest.mark.parametrize(
    ("question", "options", "answer", "reason"),
    [
        (" \n", ("a", "b"), 0, "empty_question"),
        ("Q?", ("a", " "), 0, "empty_option"),
        ("Q?", ("Paris ", "Paris", "Rome"), 0, "repeated_answer"),
        ("Q?", ("a",), 0, "too_few_options"),
        ("Q?", ("a" * (MAX_OPTION_CHARACTERS + 1), "b"), 0, "option_too_long"),
        ("Q?", ("a", "b" * (MAX_OPTION_CHARACTERS + 1)), 0, "option_too_long"),
    ],
)
def test_what_cannot_be_asked_has_a_reason(
    question: str, options: tuple[str, ...], answer: int, reason: str
) -> None:
    assert select(item(question, options, answer), 4, 7) == reason


def test_repeated_distractors_are_shown_once() -> None:
    question = selected(item(options=("a", "b", "b ", "c"), answer=0))
    assert sorted(question.options) == ["a", "b", "c"]


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


def test_the_same_seed_gives_the_same_example_and_another_seed_another_order() -> None:
    assert render(selected(item()), "letter", "en", TEMPLATES, 7) == (
        render(selected(item()), "letter", "en", TEMPLATES, 7)
    )
    assert len({selected(item(), seed=seed).options for seed in range(20)}) > 5
