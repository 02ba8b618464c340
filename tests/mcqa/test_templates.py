import re

import pytest

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.languages import LANGUAGES, NATURAL_LANGUAGES
from minilingua.core.records import ANSWER_FORMATS
from minilingua.mcqa.templates import Template, load_templates, parse_templates

GOOD = '"{question}\\n{options}\\nWhich?"'


def own_text(template: Template) -> str:
    return template.fill("", "")


def file_of(template: str, answer_format: str = "letter") -> str:
    listed = dict.fromkeys(ANSWER_FORMATS, GOOD) | {answer_format: template}
    return "".join(f"{name}:\n  - {text}\n" for name, text in listed.items())


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_every_language_has_enough_templates_of_each_format(language: str) -> None:
    templates = load_templates(language)
    assert set(templates) == set(ANSWER_FORMATS)
    assert min(map(len, templates.values())) >= (20 if language == "en" else 10)


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_templates_differ_in_words_not_only_in_layout(language: str) -> None:
    wordings = [
        " ".join(re.findall(r"\w+", own_text(template).casefold()))
        for listed in load_templates(language).values()
        for template in listed
    ]
    assert len(set(wordings)) == len(wordings)


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_a_list_without_labels_is_set_off(language: str) -> None:
    """By an empty line or a heading: a question that ends in dashes would run into it."""
    for template in load_templates(language)["text"]:
        assert template.between.endswith(("\n\n", ":\n")), template


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_most_templates_are_short(language: str) -> None:
    words = [
        len(own_text(template).split())
        for listed in load_templates(language).values()
        for template in listed
    ]
    assert sum(count <= 12 for count in words) >= 0.8 * len(words)


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_templates_are_written_in_the_script_of_their_language(language: str) -> None:
    belongs = {"Latn": "[A-Za-zÀ-ɏ]", "Cyrl": "[Ѐ-ӿ]", "Grek": "[Ͱ-Ͽἀ-῿]"}[
        LANGUAGES[language].script
    ]
    for listed in load_templates(language).values():
        for template in listed:
            words = own_text(template)
            assert re.sub(belongs, "", words) == re.sub(r"[^\W\d_]", "", words), words


def test_no_two_languages_share_a_template() -> None:
    """A file copied and left untranslated would."""
    seen: dict[str, str] = {}
    for language in NATURAL_LANGUAGES:
        for listed in load_templates(language).values():
            for template in listed:
                text = own_text(template)
                assert seen.setdefault(text, language) == language, text


@pytest.mark.parametrize(
    "text",
    ["{options} and {question}", "{0} {} {{x}} %s %(a)s", "\\1 \\g<0> $question", "a } b { c"],
)
def test_question_text_is_never_interpreted(text: str) -> None:
    template = parse_templates(file_of(GOOD), "en", "t")["letter"][0]
    assert template.fill(text, f"- {text}") == f"{text}\n- {text}\nWhich?"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ('"{question}\\n{option}"', "unknown placeholder {option}.*did you mean 'options'"),
        ('"{question}"', r"\{options\} stands 0 times"),
        ('"{question} {question}\\n{options}"', r"\{question\} stands 2 times"),
        ('"{question} {options}"', "alone on its line"),
        ('"{options}\\n{question}"', r"\{options\} has to stand after \{question\}"),
        ('"} {question}\\n{options}"', "a brace outside"),
        ('"{question}\\n{options}\\n{}"', "unknown placeholder {}"),
        ("7", "expected text, found 7"),
        (f"{GOOD}\n  - {GOOD}", "listed twice"),
    ],
)
def test_a_bad_template_is_named(template: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"t\.yaml: letter: template [12]: .*{message}"):
        parse_templates(file_of(template), "en", "t.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("letter: [", "not YAML"),
        ("- a", "expected lists under"),
        (f"letters:\n  - {GOOD}\n", "unknown answer format 'letters'.*did you mean 'letter'"),
        (f"letter:\n  - {GOOD}\n", "number: expected a list"),
        (file_of(GOOD).replace(f"text:\n  - {GOOD}", "text: []"), "text: expected a list"),
    ],
)
def test_a_bad_file_is_named(text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"t\.yaml: {message}"):
        parse_templates(text, "en", "t.yaml")


def test_a_language_without_templates_is_named() -> None:
    with pytest.raises(MissingInputError, match=r"templates/code\.yaml is missing"):
        load_templates("code")
