"""Wordings are complete in all languages."""

import re

import pytest

from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.sources.sample.facts import Statement, all_facts
from minilingua.sources.sample.wordings import TASK, ask, load_wordings


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_every_kind_is_asked_in_three_distinct_ways_and_as_a_task(language: str) -> None:
    wordings = load_wordings(language)
    assert set(wordings.kinds) == set(all_facts())
    seen = set()
    for kind, wording in wordings.kinds.items():
        names = {"x", "y"} if kind == "translation" else {"x"}
        for question in wording.questions:
            assert set(re.findall(r"\{(\w+)\}", question)) == names
            assert question.endswith(";" if language == "el" else "?")
        assert set(re.findall(r"\{(\w+)\}", wording.task)) == names - {"x"}
        assert wording.task.endswith(".")
        seen |= {*wording.questions, wording.task}
    assert len(seen) == 4 * len(all_facts())
    assert wordings.echo.endswith(".")


def test_no_two_languages_share_a_wording() -> None:
    texts = [
        text
        for language in NATURAL_LANGUAGES
        for wording in load_wordings(language).kinds.values()
        for text in (*wording.questions, wording.task)
    ]
    assert len(set(texts)) == len(texts)


def test_names_stand_unchanged_in_a_question() -> None:
    statement = Statement(subject="Tsjechië", answer="Czechy", target="Pools")
    for wording in range(TASK):
        asked = ask("translation", wording, "nl", statement)
        assert "Tsjechië" in asked
        assert "Pools" in asked
    assert "Tsjechië" not in ask("translation", TASK, "nl", statement)
