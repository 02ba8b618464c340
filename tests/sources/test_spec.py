"""Specs are complete, agree with readers and sample, and refuse what they do not know."""

from pathlib import Path

import pytest

from minilingua.core.errors import DataError, ParamsError
from minilingua.core.languages import CODE, LANGUAGES, NATURAL_LANGUAGES
from minilingua.sources.read import _reader
from minilingua.sources.sample.instruction_layouts import INSTRUCTION_LAYOUTS
from minilingua.sources.sample.multiple_choice_layouts import MULTIPLE_CHOICE_LAYOUTS
from minilingua.sources.spec import load_spec, load_specs, matches, parse_spec, source_names

VALID = """
title: T
origin: https://example.org
repositories: [{id: "o/n-{language}", into: "{language}"}]
licence: MIT
commercial_use: unknown
citation: C
rows: null
kind: instruction
reader: minilingua.sources.readers.instructions:input_output
languages: {de: German}
language_column: null
layouts: [{files: ["{language}/*.tsv"], columns: [input, output]}]
"""


def test_every_source_has_a_spec_and_every_language_a_source_of_each_kind() -> None:
    specs = load_specs()
    assert tuple(specs) == source_names()
    for kind in ("instruction", "multiple_choice"):
        covered = {code for spec in specs.values() if spec.kind == kind for code in spec.languages}
        assert covered == set(NATURAL_LANGUAGES)
    assert [name for name, spec in specs.items() if CODE in spec.languages] == ["self_oss_instruct"]


def test_every_reader_is_there() -> None:
    assert all(callable(_reader(name, spec)) for name, spec in load_specs().items())


def test_the_specs_know_what_the_sample_has() -> None:
    expected = {*INSTRUCTION_LAYOUTS, *MULTIPLE_CHOICE_LAYOUTS}
    assert {name for name, spec in load_specs().items() if spec.in_sample} == expected


def test_the_documentation_lists_every_source_with_its_licence() -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    table = text.partition("## The sources")[2].partition("\n## ")[0]
    rows = {row.split("`")[1]: row for row in table.splitlines() if row.startswith("| `")}
    specs = load_specs()
    assert list(rows) == list(specs)
    for name, spec in specs.items():
        assert spec.licence in rows[name]
        use = {True: "yes", False: "no", "unknown": "unknown"}[spec.commercial_use]
        assert f"| {use} |" in rows[name]
        for repository in spec.repositories:
            assert repository.id.replace("{language}", "{..}") in rows[name]


def test_each_language_of_a_source_on_the_hub_has_a_data_set() -> None:
    for name, spec in load_specs().items():
        for code in spec.languages:
            assert len(spec.hub_repositories([code])) == bool(spec.repositories), (name, code)
    assert list(load_spec("alpaca").hub_repositories(["en", "cs", "sv"])) == [
        "pinzhenchen/alpaca-cleaned-cs", "yahma/alpaca-cleaned",
    ]  # fmt: skip
    assert len(load_spec("alpaca").hub_repositories(LANGUAGES)) == 8
    assert load_spec("polyglot_prompt").hub_repositories(LANGUAGES) == {}


def test_what_is_for_evaluation_is_marked() -> None:
    exams = load_spec("exams")
    files = ["de/test.jsonl", "bg/train.jsonl", "multilingual/test-00000-of-00001.parquet",
             "multilingual/train-00000-of-00001.parquet"]  # fmt: skip
    assert [exams.is_evaluation_file(file) for file in files] == [True, False, True, False]
    whole = {name for name, spec in load_specs().items() if spec.is_evaluation_only}
    assert whole == {"include", "truthfulqa_cs", "mcqa_minilingua"}
    assert load_spec("include").is_evaluation_file("German/test-00000-of-00001.parquet")


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("data/train-0.parquet", "data/train-*.parquet", True),
        ("x/data/train-0.parquet", "data/train-*.parquet", False),
        ("train-0.parquet", "data/train-*.parquet", False),
        ("a/de/b_train.tsv", "*/de/*_train.tsv", True),
        ("a/b/de/b_train.tsv", "*/de/*_train.tsv", False),
    ],
)
def test_a_pattern_means_the_same_for_a_listing_and_on_a_disk(
    tmp_path: Path, path: str, pattern: str, expected: bool
) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).touch()
    assert [found.is_file() for found in tmp_path.glob(pattern)] == [True] * expected
    assert matches(path, pattern) is expected


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


def test_a_date_is_text() -> None:
    assert parse_spec(VALID.replace("rows: null", "rows: 2024-05-01"), "x").rows == "2024-05-01"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: T", "titel: T", r"x\.yaml: title: Field required"),
        (
            "rows: null",
            "rows: null\nlicense: MIT",
            r"license: Extra inputs.*did you mean 'licence'",
        ),
        ("licence: MIT", "licence: free", r"licence: 'free' is no SPDX expression"),
        ("licence: MIT", "licence: cc-by-4.0", r"licence: 'cc-by-4.0' is written 'CC-BY-4.0'"),
        ("*.tsv", "*.py", r"layouts: '\{language\}/\*.py': only data files are read"),
        ('"{language}/', '"../{language}/', r"layouts: .* leaves the directory"),
        ('"o/n-{language}"', "o/n, languages: [fi]", r"file: 'fi' is named in a part"),
        ("rows: null", "rows: null\nobtain: ask", r"file: obtain says how to get what has no"),
        ("commercial_use: unknown", "commercial_use: perhaps", r"commercial_use.*True, False or"),
        ("{de: German}", "{da: Danish}", r"languages: unknown language 'da'; allowed: en, de"),
        ("{language}/", "{lang}/", r"layouts: .*only \{code\}, \{language\}"),
        ("instructions:input_output", "instructions.input_output", r"reader: String should match"),
        ("kind: instruction", "kind: [", r"x\.yaml: not YAML"),
    ],
)
def test_a_bad_spec_is_one_clear_line(old: str, new: str, message: str) -> None:
    parse_spec(VALID, "x.yaml")
    with pytest.raises(DataError, match=message) as caught:
        parse_spec(VALID.replace(old, new), "x.yaml")
    assert "\n" not in str(caught.value)
