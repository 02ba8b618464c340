"""Open prompts: which are asked, and what is said of the answers."""

import pytest

from minilingua.core.language_identifier import judge
from minilingua.evaluation.generation import Answer
from minilingua.evaluation.open_answers import (
    OpenPrompt,
    judge_answers,
    load_open_prompts,
    prompts_of,
    side_by_side,
)
from minilingua.evaluation.prompts import PromptEncoder

FINNISH = "Vanha mies istui laiturilla ja katseli, kuinka lokit kiertelivät kalastajien venettä."
SWEDISH = "Den gamle mannen satt på bryggan och såg hur måsarna kretsade kring fiskarnas båt."
NORWEGIAN = "Den gamle mannen satt på bryggen og så hvordan måkene kretset rundt fiskebåten."


@pytest.mark.parametrize(
    ("text", "language", "verdict"),
    [
        (FINNISH, "fi", "right"),
        (FINNISH, "sv", "wrong"),
        (SWEDISH, "fi", "wrong"),
        (NORWEGIAN, "sv", "right"),  # a near relative counts as the language itself
        ("Helsinki", "sv", "unclear"),
        ("12 + 30 = 42; " * 20, "en", "unclear"),
        ("", "en", "unclear"),
        (FINNISH + "\n\n" + FINNISH, "fi", "right"),
    ],
)
def test_only_clear_cases_are_judged(text: str, language: str, verdict: str) -> None:
    assert judge(text, language) == verdict


@pytest.mark.usefixtures("world")
def test_prompts_without_a_key_are_asked(encoder: PromptEncoder) -> None:
    prompts = load_open_prompts(["en", "fi"], 3)
    assert [(p.language, p.prompt[-1].content, p.reference) for p in prompts] == [
        (language, "And you? <|end|>", "the second one") for language in ("en", "fi")
    ]
    assert load_open_prompts(["en", "fi"], 0) == []
    (first, _) = prompts_of(prompts, encoder, max_new_tokens=7)
    assert first.limit == 7
    assert encoder.decode(first.tokens) == "And you? <|end|>"  # as text, not as a control token


def asked(language: str) -> OpenPrompt:
    return OpenPrompt(id="1", language=language, prompt=(), reference="x")


def test_what_is_said_of_an_answer() -> None:
    stopped = Answer(tokens=(1, 2, 3, 4, 1, 2, 3, 4), stopped=True)
    endless = Answer(tokens=(5, 5), stopped=False)
    wrong, right, short, code = judge_answers(
        "result",
        [asked("fi"), asked("fi"), asked("fi"), asked("code")],
        [stopped, stopped, endless, endless],
        [SWEDISH, FINNISH, "ei", "def f(): ..."],
    )
    assert wrong.values == {
        "stop_rate": (1.0, 1.0),
        "repetition": (pytest.approx(1 / 5), 1.0),
        "unclear_language": (0.0, 1.0),
        "wrong_language": (1.0, 1.0),
    }
    assert right.values["wrong_language"] == (0.0, 1.0)
    assert short.values == {"stop_rate": (0.0, 1.0), "unclear_language": (1.0, 1.0)}
    assert code.values == {"stop_rate": (0.0, 1.0)}


@pytest.mark.usefixtures("world")
def test_answers_stand_side_by_side() -> None:
    prompts = load_open_prompts(["en"], 1)
    (written,) = side_by_side(prompts, ["before"], ["after"])
    assert (written.prompt, written.reference) == ("And you? <|end|>", "the second one")
    assert (written.base, written.result) == ("before", "after")
