import re

import pytest

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.languages import LANGUAGES, NATURAL_LANGUAGES
from minilingua.core.records import ANSWER_FORMATS
from minilingua.mcqa.templates import load_templates, parse_templates

GOOD = '"{question}\\n{options}\\nWhich?"'


def file_of(template: str, answer_format: str = "letter") -> str:
    listed = dict.fromkeys(ANSWER_FORMATS, GOOD) | {answer_format: template}
    return "".join(f"{name}:\n  - {text}\n" for name, text in listed.items())


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_every_language_has_enough_templates_of_each_format(language: str) -> None:
    templates = load_templates(language)
    texts = [template.text for listed in templates.values() for template in listed]
    assert set(templates) == set(ANSWER_FORMATS)
    assert len(texts) == len(set(texts))
    assert len(texts) >= (20 if language == "en" else 10)
    assert min(map(len, templates.values())) >= 3


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_most_templates_are_short(language: str) -> None:
    words = [
        len(re.sub(r"\{\w+\}", "", template.text).split())
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
            words = re.sub(r"\{\w+\}", "", template.text)
            assert re.sub(belongs, "", words) == re.sub(r"[^\W\d_]", "", words), template.text


def test_no_two_languages_share_a_template() -> None:
    """A file copied and left untranslated would."""
    seen: dict[str, str] = {}
    for language in NATURAL_LANGUAGES:
        for listed in load_templates(language).values():
            for template in listed:
                assert seen.setdefault(template.text, language) == language, template.text


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
