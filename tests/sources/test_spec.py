"""Specs are complete, agree with what the readers export, and refuse what they do not know."""

import pytest

from minilingua.core.errors import DataError, ParamsError
from minilingua.core.languages import CODE, NATURAL_LANGUAGES
from minilingua.sources.read import INSTRUCTION_SOURCES, MCQA_SOURCES
from minilingua.sources.spec import SOURCE_NAMES, load_spec, load_specs, parse_spec

VALID = """
title: T
hub: null
origin: https://example.org
licence: MIT
commercial_use: unknown
citation: C
kind: instruction
reader: minilingua.sources.readers.instructions:input_output
languages: {de: German}
language_column: null
layouts: [{files: ["{language}/*.tsv"], columns: [input, output]}]
"""


def test_every_source_has_a_spec_and_every_language_a_source_of_each_kind() -> None:
    specs = load_specs()
    assert tuple(specs) == SOURCE_NAMES
    for kind in ("instruction", "multiple_choice"):
        covered = {code for spec in specs.values() if spec.kind == kind for code in spec.languages}
        assert covered == set(NATURAL_LANGUAGES)
    assert [name for name, spec in specs.items() if CODE in spec.languages] == ["self_oss_instruct"]


def test_exported_names_are_those_of_the_specs_kinds() -> None:
    kinds = {name: spec.kind for name, spec in load_specs().items()}
    assert set(MCQA_SOURCES) == {name for name, kind in kinds.items() if kind == "multiple_choice"}
    assert set(INSTRUCTION_SOURCES) == set(kinds) - set(MCQA_SOURCES)


@pytest.mark.parametrize(
    ("source", "absent"),
    [
        ("bactrian_x", {"bg", "el"}),
        ("aya", {"cs", "bg"}),
        ("include", {"en", "cs", "sv"}),
        ("exams", {"en", "nl", "cs", "el", "fi", "sv"}),
    ],
)
def test_languages_that_a_real_source_lacks_are_not_claimed(source: str, absent: set[str]) -> None:
    assert set(NATURAL_LANGUAGES) - set(load_spec(source).languages) == absent


def test_a_source_that_forbids_commercial_use_says_so() -> None:
    assert load_spec("bactrian_x").commercial_use is False
    assert load_spec("polyglot_prompt").commercial_use == "unknown"


def test_an_unknown_source_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ParamsError, match=r"unknown source 'exam'.*did you mean 'exams'"):
        load_spec("exam")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: T", "titel: T", r"x\.yaml: title: Field required"),
        ("hub: null", "hub: null\nlicense: MIT", r"license: Extra inputs.*did you mean 'licence'"),
        ("commercial_use: unknown", "commercial_use: perhaps", r"commercial_use.*True, False or"),
        ("{de: German}", "{da: Danish}", r"languages: unknown language 'da'; allowed: en, de"),
        ("{language}/", "{lang}/", r"layouts: .*only \{code\} and \{language\}"),
        ("instructions:input_output", "instructions.input_output", r"reader: String should match"),
        ("kind: instruction", "kind: [", r"x\.yaml: not YAML"),
    ],
)
def test_a_bad_spec_is_one_clear_line(old: str, new: str, message: str) -> None:
    parse_spec(VALID, "x.yaml")
    with pytest.raises(DataError, match=message) as caught:
        parse_spec(VALID.replace(old, new), "x.yaml")
    assert "\n" not in str(caught.value)
