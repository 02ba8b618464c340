"""Facts recur over languages, wordings and kinds of source, so that what is held out is fair."""

from collections import Counter, defaultdict

import pytest

from minilingua.core.errors import ParamsError
from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.params import SampleParams
from minilingua.sources.sample.draw import NEIGHBOURS, SPECIAL_TEXTS, Drawn, divide, draw

SAMPLE = SampleParams(facts=240, instruction_rows=180, mcqa_rows=110, code_rows=1)


@pytest.fixture(scope="module")
def drawn() -> dict[str, Drawn]:
    return draw(SAMPLE, 5)


def test_every_language_gets_as_many_rows_as_asked_for(drawn: dict[str, Drawn]) -> None:
    assert set(drawn) == set(NATURAL_LANGUAGES) == set(NEIGHBOURS)
    for rows in drawn.values():
        assert (len(rows.prompts), len(rows.questions)) == (180, 110)


def test_a_fact_recurs_in_several_languages_and_words_and_in_both_kinds(
    drawn: dict[str, Drawn],
) -> None:
    languages = defaultdict(set)
    for language, rows in drawn.items():
        prompts, questions = Counter[str](), Counter[str]()
        for prompt in rows.prompts:
            if prompt.fact is not None:
                prompts[prompt.fact] += 1
                languages[prompt.fact].add(language)
        for question in rows.questions:
            questions[question.fact] += 1
        assert set(prompts) == set(questions)
        assert min(prompts[fact] + questions[fact] for fact in prompts) >= 3
    assert len(languages) > 230
    assert sum(len(found) >= 3 for found in languages.values()) > 220


def test_no_question_is_asked_twice_in_the_same_words(drawn: dict[str, Drawn]) -> None:
    for rows in drawn.values():
        asked = [row.question for row in rows.questions]
        assert len(set(asked)) == len(asked)
        # A question that is held out has been answered in other words only.
        assert not {row.prompt for row in rows.prompts} & set(asked)


def test_wrong_options_are_right_answers_elsewhere_in_the_language(
    drawn: dict[str, Drawn],
) -> None:
    for rows in drawn.values():
        right = {row.right for row in rows.questions}
        others = [
            row.wrong[:3] for row in rows.questions if not row.fact.startswith("translation:")
        ]
        known = sum(answer in right for wrong in others for answer in wrong)
        assert known > 0.95 * sum(map(len, others))


def test_some_prompts_spell_control_tokens(drawn: dict[str, Drawn]) -> None:
    spelled = {
        row.given for rows in drawn.values() for row in rows.prompts if row.given == row.answer
    }
    assert spelled == set(SPECIAL_TEXTS)


def test_a_task_and_its_input_fit_on_one_line(drawn: dict[str, Drawn]) -> None:
    row = next(row for row in drawn["fr"].prompts if row.given and row.fact)
    assert row.prompt == f"{row.instruction.removesuffix('.')} : {row.given}"
    assert all("\n" not in row.prompt and "\t" not in row.prompt for row in drawn["fr"].prompts)


def test_few_facts_are_asked_more_often_and_none_at_all_is_refused() -> None:
    few = draw(SampleParams(facts=2, instruction_rows=30, mcqa_rows=9, code_rows=1), 5)
    assert all(len(rows.questions) == 9 for rows in few.values())


def test_rows_are_divided_evenly() -> None:
    assert divide(11, ["a", "b", "c"]) == {"a": 4, "b": 4, "c": 3}
    assert divide(5, []) == {}


def test_the_same_seed_draws_the_same(drawn: dict[str, Drawn]) -> None:
    assert draw(SAMPLE, 5) == drawn
    assert draw(SAMPLE, 6) != drawn


def test_facts_that_no_row_can_be_made_of_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minilingua.sources.sample.draw.state", lambda *_: None)
    with pytest.raises(ParamsError, match=r"sources\.sample\.facts: 2 is too few: none can be"):
        draw(SampleParams(facts=2, instruction_rows=1, mcqa_rows=1, code_rows=1), 5)
