"""What the sample states is true: derived again through Babel's public functions."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
from babel import Locale
from babel.core import get_global
from babel.dates import get_day_names, get_month_names
from babel.languages import get_official_languages
from babel.numbers import get_currency_name, get_territory_currencies
from babel.units import format_unit

from minilingua.core.errors import ParamsError
from minilingua.core.languages import LANGUAGES, NATURAL_LANGUAGES
from minilingua.core.manifest import Manifest
from minilingua.sources.read import read_instructions, read_multiple_choice
from minilingua.sources.sample.facts import (
    ANSWERS_ALIKE,
    all_facts,
    choose_facts,
    state,
    wrong_answers,
)
from tests.sources.conftest import in_sample

RECENT = dt.date(2025, 6, 1)


def expected_answer(fact: str, language: str) -> str:
    """Derives an answer from the fact's id alone."""
    kind, key, *target = fact.split(":")
    locale = Locale.parse(language)
    answers: dict[str, Callable[[], str]] = {
        "currency": lambda: get_currency_name(the_currency(key), locale=locale),
        "currency_code": lambda: key,
        "country_code": lambda: key,
        "official_language": lambda: locale.languages[the_official_language(key)],
        "city": lambda: locale.territories[get_global("zone_territories")[key]],
        "month_after": lambda: name_of("month", "1" if key == "12" else str(int(key) + 1), locale),
        "weekday_after": lambda: name_of(
            "weekday", "1" if key == "7" else str(int(key) + 1), locale
        ),
        "unit": lambda: format_unit(7, key, "short", locale=locale).removeprefix("7").strip(),
        "translation": lambda: name_of(
            key.partition(".")[0], key.partition(".")[2], Locale.parse(target[0])
        ),
    }
    return str(answers[kind]())


def the_currency(territory: str) -> str:
    (currency,) = get_territory_currencies(territory, RECENT, tender=True)
    return str(currency)


def the_official_language(territory: str) -> str:
    (spoken,) = get_official_languages(territory)
    return str(spoken)


def name_of(what: str, code: str, locale: Locale) -> str:
    if what == "territory":
        return str(locale.territories[code])
    if what == "language":
        return str(Locale.parse(code).get_language_name(locale))
    if what == "month":
        return str(get_month_names("wide", "stand-alone", locale)[int(code)])
    return str(get_day_names("wide", "stand-alone", locale)[int(code) - 1])


def test_every_answer_of_the_sample_is_true(sample_raw: Path) -> None:
    manifest = Manifest(stage="test")
    checked = set()
    for name in in_sample("instruction", "code"):
        for example in read_instructions(sample_raw, name, list(LANGUAGES), manifest):
            if example.fact is not None:
                answer = example.messages[1].content
                assert answer == expected_answer(example.fact, example.language), example
                checked.add(example.fact)
    for name in in_sample("multiple_choice"):
        for item in read_multiple_choice(sample_raw, name, list(LANGUAGES), manifest):
            assert item.fact is not None
            right = expected_answer(item.fact, item.language)
            assert item.options[item.answer] == right, item
            checked.add(item.fact)
    assert {fact.split(":")[0] for fact in checked} == set(all_facts())


def test_every_fact_that_could_be_asked_is_true_in_every_language() -> None:
    for facts in all_facts().values():
        for fact in facts:
            for language in NATURAL_LANGUAGES:
                statement = state(fact, language)
                if statement is not None:
                    assert statement.answer == expected_answer(fact.id, language), fact.id


@pytest.mark.parametrize(
    ("fact", "language", "answer"),
    [
        ("currency:PL", "de", "Polnischer Złoty"),
        ("currency_code:SEK", "el", "SEK"),
        ("country_code:DE", "fi", "DE"),
        ("official_language:GR", "sv", "grekiska"),
        ("city:Europe/Warsaw", "it", "Polonia"),
        ("month_after:12", "cs", "leden"),
        ("weekday_after:7", "bg", "понеделник"),
        ("unit:length-kilometer", "pt", "km"),
        ("translation:territory.FI:fi", "en", "Suomi"),
        ("translation:month.1:es", "pl", "enero"),
    ],
)
def test_known_facts_are_stated_as_everybody_knows_them(
    fact: str, language: str, answer: str
) -> None:
    (found,) = [item for facts in all_facts().values() for item in facts if item.id == fact]
    statement = state(found, language)
    assert statement is not None
    assert statement.answer == answer
    assert expected_answer(fact, language) == answer


def test_every_fact_can_be_asked_in_most_languages() -> None:
    for fact in choose_facts(240, 3):
        stated = [language for language in NATURAL_LANGUAGES if state(fact, language) is not None]
        assert len(stated) >= 7, fact.id


def test_chosen_facts_are_distinct_mixed_and_few_share_an_answer() -> None:
    facts = choose_facts(240, 3)
    assert len({fact.id for fact in facts}) == 240
    assert {fact.kind for fact in facts[:40]} == set(all_facts())
    for kind in ("currency", "official_language", "city"):
        answers = [
            statement.answer
            for fact in facts
            if fact.kind == kind and (statement := state(fact, "en")) is not None
        ]
        assert max(map(answers.count, answers)) <= ANSWERS_ALIKE


def test_wrong_answers_are_wrong_distinct_and_of_the_same_kind() -> None:
    facts = choose_facts(240, 3)
    for fact in facts:
        statement = state(fact, "de")
        if statement is None:
            continue
        wrong = wrong_answers(fact, "de", facts)
        folded = [answer.casefold() for answer in [statement.answer, *wrong]]
        assert len(set(folded)) == len(folded)
        assert len(wrong) >= 3
    codes = [fact for fact in facts if fact.kind == "country_code"]
    assert all(len(answer) == 2 for answer in wrong_answers(codes[0], "de", facts))


def test_asking_for_too_many_facts_says_how_many_there_are() -> None:
    with pytest.raises(ParamsError, match=r"facts: 100000, but CLDR facts suffice for \d\d\d"):
        choose_facts(100_000, 3)
