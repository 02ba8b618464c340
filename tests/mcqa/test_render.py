import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from minilingua.core.files import canonical_json, dump_record
from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.core.records import (
    ANSWER_FORMATS,
    AnswerFormat,
    Choice,
    InstructionExample,
    Message,
)
from minilingua.mcqa.build import Question
from minilingua.mcqa.render import escaped, escaped_question, escaped_templates, render
from minilingua.mcqa.templates import load_templates
from tests.mcqa.read_back import named_option
from tests.mcqa.test_build import item, selected

TEMPLATES = escaped_templates(NATURAL_LANGUAGES)
PLAIN_TEMPLATES = {language: load_templates(language) for language in NATURAL_LANGUAGES}
LABELS = {"letter": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "number": range(1, 27)}


def rendered(
    question: Question, answer_format: AnswerFormat, instruction: str = "en", seed: int = 7
) -> InstructionExample:
    line = render(escaped_question(question), instruction, TEMPLATES, seed)[answer_format]
    return TypeAdapter(InstructionExample).validate_json(line, strict=True)


def naive(
    question: Question, answer_format: AnswerFormat, instruction: str, prompt: str
) -> InstructionExample:
    """The record as it would be built without any regard to speed."""
    candidates = question.options
    if answer_format != "text":
        labels = zip(LABELS[answer_format], question.options, strict=False)
        candidates = tuple(str(label) for label, _ in labels)
    return InstructionExample(
        source=question.source,
        row=question.row,
        language=question.language,
        task="mcqa",
        messages=(
            Message(role="user", content=prompt),
            Message(role="assistant", content=candidates[question.answer]),
        ),
        key=question.key,
        choice=Choice(
            question=question.text,
            options=question.options,
            candidates=candidates,
            answer=question.answer,
            answer_format=answer_format,
            instruction_language=instruction,
        ),
        fact=question.fact,
    )


def naive_prompts(question: Question, answer_format: AnswerFormat, instruction: str) -> set[str]:
    """The prompts that the templates allow."""
    marks = ["-"] * 26 if answer_format == "text" else [f"{x}." for x in LABELS[answer_format]]
    listed = [f"{mark} {text}" for mark, text in zip(marks, question.options, strict=False)]
    return {
        template.fill(question.text, "\n".join(listed))
        for template in PLAIN_TEMPLATES[instruction][answer_format]
    }


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@settings(deadline=None)
@given(
    question=TEXTS.filter(str.strip),
    options=st.lists(TEXTS.map(lambda text: " ".join(text.split())).filter(bool), min_size=2,
                     max_size=9, unique=True),
    data=st.data(),
    shown=st.integers(2, 26),
    language=st.sampled_from(NATURAL_LANGUAGES),
    row=TEXTS,
    fact=st.none() | TEXTS,
)  # fmt: skip
def test_lines_are_what_dumping_the_records_gives(
    question: str,
    options: list[str],
    data: st.DataObject,
    shown: int,
    language: str,
    row: str,
    fact: str | None,
) -> None:
    answer = data.draw(st.integers(0, len(options) - 1))
    source = replace(item(question, tuple(options), answer, language, row), fact=fact)
    chosen = selected(source, shown)
    for instruction in dict.fromkeys([language, "en"]):
        lines = render(escaped_question(chosen), instruction, TEMPLATES, 7)
        assert list(lines) == list(ANSWER_FORMATS)
        for answer_format, line in lines.items():
            prompt = json.loads(line)["messages"][0]["content"]
            assert prompt in naive_prompts(chosen, answer_format, instruction)
            assert line == dump_record(naive(chosen, answer_format, instruction, prompt))


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_escaping_is_that_of_canonical_json(text: str) -> None:
    assert f'"{escaped(text)}"' == canonical_json(text)


WORDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)


@settings(deadline=None)
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
    chosen = selected(item(f"{question}?", tuple(options), answer, language), shown, seed)
    for answer_format in ANSWER_FORMATS:
        for instruction in dict.fromkeys([language, "en"]):
            prompt, reply = rendered(chosen, answer_format, instruction, seed).messages
            assert named_option(prompt.content, reply.content) == options[answer]


def test_labels_count_what_is_shown() -> None:
    three = selected(item(options=("a", "b", "c"), answer=2))
    candidates = {name: rendered(three, name).choice for name in ANSWER_FORMATS}
    assert {name: choice.candidates for name, choice in candidates.items() if choice} == {
        "letter": ("A", "B", "C"),
        "number": ("1", "2", "3"),
        "text": three.options,
    }


def test_formats_of_one_question_show_the_same_list() -> None:
    question = selected(item())
    shown = {rendered(question, name).choice for name in ANSWER_FORMATS}
    assert len({(choice.options, choice.answer) for choice in shown if choice}) == 1


@pytest.mark.parametrize("answer_format", ANSWER_FORMATS)
def test_every_template_is_used(answer_format: AnswerFormat) -> None:
    frames = set()
    for number in range(300):
        question = selected(item(question=f"Number {number:03}?", options=("yes", "no"), answer=0))
        prompt = rendered(question, answer_format).messages[0].content
        listed = prompt.split(question.text)[1].replace("yes", "x").replace("no", "x")
        frames.add((prompt.split(question.text)[0], listed))
    assert len(frames) == len(PLAIN_TEMPLATES["en"][answer_format])


@pytest.mark.parametrize("text", ["{question}", "{options}", "{0} {{}} %s \\1 }{", '"\\"\t\x7f'])
@pytest.mark.parametrize("answer_format", ANSWER_FORMATS)
def test_special_characters_are_text(text: str, answer_format: AnswerFormat) -> None:
    question = selected(item(question=f"What is {text}?", options=(f"a {text}", "b", "{c}")))
    prompt, reply = rendered(question, answer_format).messages
    assert f"What is {text}?" in prompt.content
    assert f" a {' '.join(text.split())}" in prompt.content
    assert named_option(prompt.content, reply.content) == "b"
