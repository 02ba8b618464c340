import pytest

from minilingua.core.language_identifier import identify
from minilingua.core.languages import CODE, NATURAL_LANGUAGES
from minilingua.curation.language import foreign_language
from minilingua.curation.texts import read_texts
from tests.curation.examples import example, question

LONG = {
    "en": "The river flows slowly through the old town and meets the sea behind the hills.",
    "de": "Der Fluss fließt langsam durch die alte Stadt und mündet hinter den Hügeln ins Meer.",
    "es": "El río pasa despacio por la ciudad vieja y llega al mar detrás de las colinas.",
    "fr": "La rivière traverse lentement la vieille ville et rejoint la mer derrière les collines.",
    "it": "Il fiume attraversa lentamente la città vecchia e arriva al mare dietro le colline.",
    "pt": "O rio atravessa devagar a cidade velha e chega ao mar atrás das colinas.",
    "nl": "De rivier stroomt langzaam door de oude stad en bereikt achter de heuvels de zee.",
    "pl": "Rzeka płynie powoli przez stare miasto i wpada do morza za wzgórzami.",
    "cs": "Řeka teče pomalu starým městem a za kopci se vlévá do moře.",
    "bg": "Реката тече бавно през стария град и се влива в морето зад хълмовете.",
    "el": "Το ποτάμι κυλά αργά μέσα από την παλιά πόλη και χύνεται στη θάλασσα.",
    "fi": "Joki virtaa hitaasti vanhan kaupungin halki ja laskee mereen kukkuloiden takana.",
    "sv": "Floden rinner långsamt genom den gamla staden och möter havet bakom kullarna.",
}


def found(prompt: str, answer: str, language: str) -> str | None:
    return foreign_language(read_texts(example(prompt, answer, language=language)))


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_a_text_is_in_its_language_and_in_no_other(language: str) -> None:
    assert identify(LONG[language], language) is None
    others = [code for code in NATURAL_LANGUAGES if code != language]
    named = [identify(LONG[language], other) for other in others]
    assert all(name is not None and name.startswith(language) for name in named)


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_one_text_in_the_right_language_is_enough(language: str) -> None:
    other = "en" if language != "en" else "fi"
    assert found(LONG[other], LONG[language], language) is None
    assert found(LONG[language], LONG[other], language) is None
    assert found(LONG[other], LONG[other], language) is not None


def test_what_is_short_unclear_or_a_program_stays() -> None:
    assert found(LONG["en"], "Blue.", "de") is None
    assert found("2 + 2 = 4; 3 + 3 = 6", "1, 2, 3, 4", "de") is None
    assert found("London Paris Berlin Madrid Roma Lisboa Warszawa", LONG["de"], "de") is None
    assert found(LONG["fi"], LONG["fi"], CODE) is None


def test_near_relatives_are_not_told_apart() -> None:
    danish = "Floden løber langsomt gennem den gamle by og møder havet bag bakkerne, hvor jeg bor."
    assert identify(danish, "sv") is None
    assert identify(danish, "fr") is not None


def test_a_question_is_judged_by_question_and_options() -> None:
    asked = question(LONG["en"], (LONG["en"], LONG["en"][4:]), language="fi")
    assert foreign_language(read_texts(asked)) is not None
    asked = question(LONG["en"], (LONG["fi"], LONG["fi"][5:]), language="fi")
    assert foreign_language(read_texts(asked)) is None
