from functools import cache

import pytest

from minilingua.core.languages import CODE, NATURAL_LANGUAGES
from minilingua.core.records import InstructionExample, Role
from minilingua.curation.filters import row_filters
from minilingua.curation.language import script_share
from minilingua.curation.texts import read_texts
from tests.curation.examples import example, question

ORDINARY = {
    "en": ("Which river flows through Vienna?", "The Danube flows through Vienna."),
    "de": ("Welcher Fluss fließt durch Wien?", "Durch Wien fließt die Donau."),
    "es": ("¿Qué río pasa por Viena?", "El Danubio pasa por Viena."),
    "fr": ("Quel fleuve traverse Vienne ?", "Le Danube traverse Vienne."),
    "it": ("Quale fiume attraversa Vienna?", "Il Danubio attraversa Vienna."),
    "pt": ("Que rio passa por Viena?", "O Danúbio passa por Viena."),
    "nl": ("Welke rivier stroomt door Wenen?", "De Donau stroomt door Wenen."),
    "pl": ("Jaka rzeka płynie przez Wiedeń?", "Przez Wiedeń płynie Dunaj."),
    "cs": ("Která řeka protéká Vídní?", "Vídní protéká Dunaj."),
    "bg": ("Коя река тече през Виена?", "През Виена тече Дунав."),
    "el": ("Ποιος ποταμός διασχίζει τη Βιέννη;", "Τη Βιέννη διασχίζει ο Δούναβης."),
    "fi": ("Mikä joki virtaa Wienin läpi?", "Wienin läpi virtaa Tonava."),
    "sv": ("Vilken flod rinner genom Wien?", "Donau rinner genom Wien."),
    CODE: ("Reverse a list in Python.", "def reverse(items):\n    return items[::-1]"),
}
REFUSALS = {
    "en": "I'm sorry, but as an AI language model, I cannot do that.",
    "de": "Als KI-Sprachmodell habe ich keine Gefühle.",
    "es": "Lo siento, pero no puedo ayudarte con eso.",
    "fr": "En tant qu'IA, je n'ai pas d'avis.",
    "it": "Come modello linguistico, non ho opinioni.",
    "pt": "Desculpe, mas não posso responder.",
    "nl": "Als AI-taalmodel heb ik geen mening.",
    "pl": "Jako model językowy nie mam zdania.",
    "cs": "Jako jazykový model nemám vlastní názor.",
    "bg": "Съжалявам, но не мога да отговоря.",
    "el": "Ως γλωσσικό μοντέλο, δεν έχω άποψη.",
    "fi": "Tekoälynä minulla ei ole tunteita.",
    "sv": "Som en språkmodell kan jag inte svara.",
    CODE: "As an AI language model, I cannot run code.",
}


CONTENT = (
    "wrong_script",
    "refusal",
    "repetition",
    "translated_code",
    "markup_residue",
    "wrong_language",
)
filters_of = cache(row_filters)


def reason(
    row: InstructionExample, max_characters: int = 4000, chosen: tuple[str, ...] = CONTENT
) -> str | None:
    texts = read_texts(row)
    return next((f.reason for f in filters_of(max_characters, chosen) if f.find(texts)), None)


@pytest.mark.parametrize("language", ORDINARY)
def test_ordinary_rows_pass_in_every_language(language: str) -> None:
    assert reason(example(*ORDINARY[language], language=language)) is None
    followed_up = (*ORDINARY[language], *ORDINARY[language])
    roles: tuple[Role, ...] = ("user", "assistant", "user", "assistant")
    turns = tuple(zip(roles, followed_up, strict=True))
    assert reason(example(language=language, turns=turns)) is None


@pytest.mark.parametrize("language", REFUSALS)
def test_refusals_are_found_in_every_language(language: str) -> None:
    assert reason(example(ORDINARY[language][0], REFUSALS[language], language=language)) == (
        "refusal"
    )


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_english_refusals_are_found_under_any_label_of_latin_script(language: str) -> None:
    row = example(ORDINARY[language][0], "As an AI, I have no opinion.", language=language)
    assert reason(row) == "refusal"


def test_a_refusal_after_an_answer_is_found_when_it_speaks_in_the_first_person() -> None:
    answer = "Blue is calm. As an AI language model,\nI don’t have feelings."
    assert reason(example(answer=answer)) == "refusal"


@pytest.mark.parametrize(
    "answer",
    [
        "GPT-2 is known as a language model; BERT, as an AI language model, reads both ways.",
        "Say: 'I'm sorry, but I can't come on Monday.'",
        "As an aid to memory, make lists.",
    ],
)
def test_speaking_about_models_or_apologies_is_no_refusal(answer: str) -> None:
    assert reason(example(answer=answer)) is None


def test_an_option_of_a_question_is_no_refusal() -> None:
    assert reason(question("Was sagt ein Chatbot?", ("Als KI kann ich nicht.", "Ja."))) is None


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        ((), "conflicting_roles"),
        ((("user", "a"),), "conflicting_roles"),
        ((("system", "a"),), "conflicting_roles"),
        ((("assistant", "a"), ("user", "b")), "conflicting_roles"),
        ((("user", "a"), ("user", "b"), ("assistant", "c")), "conflicting_roles"),
        ((("user", "a"), ("assistant", "b"), ("user", "c")), "conflicting_roles"),
        ((("user", "a"), ("system", "s"), ("assistant", "b")), "conflicting_roles"),
        ((("system", "s"), ("user", "a"), ("assistant", "b")), None),
        ((("user", " \n"), ("assistant", "b")), "empty_prompt"),
        ((("system", ""), ("user", "a"), ("assistant", "b")), "empty_prompt"),
        ((("user", "a"), ("assistant", "\t")), "empty_answer"),
        ((("user", "a"), ("assistant", "\u200b\n\ufeff")), "empty_answer"),
        ((("user", "\u200b"), ("assistant", "\u200ba")), "empty_prompt"),
        ((("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "")), "empty_answer"),
    ],
)
def test_turns(turns: tuple[tuple[Role, str], ...], expected: str | None) -> None:
    assert reason(example(turns=turns)) == expected


def test_length_counts_all_turns_and_the_limit_itself_passes() -> None:
    assert reason(example("a" * 6, "b" * 4), max_characters=10) is None
    assert reason(example("a" * 6, "b" * 5), max_characters=10) == "too_long"


@pytest.mark.parametrize(
    ("language", "prompt", "answer", "expected"),
    [
        ("bg", "Name a colour.", "Blue.", "wrong_script"),
        ("bg", "Да: name a colour.", "Не: yellow.", "wrong_script"),
        ("bg", "Цветът: red", "Blue.", None),
        ("el", "Назови цвет.", "Синий.", "wrong_script"),
        ("de", "Назови цвет.", "Синий.", "wrong_script"),
        ("fi", "给一种颜色命名。", "蓝色。", "wrong_script"),
        ("bg", "Преведи на английски: син", "blue", None),
        ("bg", "Translate into Bulgarian: blue", "син", None),
        ("el", "Γράψε ένα πρόγραμμα.", "print(sum(range(10)))", None),
        ("el", "2 + 2 = ?", "4", None),
        (CODE, "напиши функцию", "функция", None),
        ("pl", "Zażółć gęślą jaźń", "Łódź", None),
        ("el", "Ἐν ἀρχῇ ἦν ὁ λόγος", "λόγος", None),
    ],
)
def test_script(language: str, prompt: str, answer: str, expected: str | None) -> None:
    assert reason(example(prompt, answer, language=language)) == expected


def test_the_instruction_around_a_question_may_be_english() -> None:
    long = "Read the following question and reply with nothing but the correct option."
    asked = question("Кой цвят?", ("син", "жълт"), language="bg", instruction=long)
    assert reason(asked) is None
    foreign = question("Which colour?", ("blue", "red"), language="bg", instruction=long)
    assert reason(foreign) == "wrong_script"


def test_script_share_ignores_what_is_no_letter() -> None:
    assert script_share("12, 34!", "Latn") is None
    assert script_share("ab 12 вг", "Cyrl") == 0.5


def test_every_filter_names_its_reason_once() -> None:
    filters = row_filters(100, CONTENT)
    assert len({rule.reason for rule in filters}) == len(filters)
    assert all(rule.description.endswith(".") for rule in filters)
    assert [rule.reason for rule in filters[-len(CONTENT) :]] == list(CONTENT)


def test_content_filters_can_be_left_out_and_structure_cannot() -> None:
    refused = example(*(ORDINARY["en"][0], REFUSALS["en"]))
    assert reason(refused, chosen=("wrong_script",)) is None
    assert reason(example("x", " "), chosen=()) == "empty_answer"


@pytest.mark.parametrize("text", ["a\ufffdb", "a\x00b", "bell\x07", "half \ud83d", "\x7f"])
def test_broken_text(text: str) -> None:
    assert reason(example("Name it.", text)) == "broken_text"
    assert reason(example(turns=(("user", text), ("assistant", "b")))) == "broken_text"


def test_tabs_line_breaks_and_emoji_are_not_broken() -> None:
    assert reason(example("Name\tit.\r\n", "A\x0bname\x0c 👩🏽‍🚀 e\u0301 \u200d")) is None
