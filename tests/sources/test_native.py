"""The files of a source are found in a fixed order, and what is missing is named."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import tree_files
from minilingua.core.languages import LANGUAGES
from minilingua.sources.native import native_files, uncovered, wanted_files
from minilingua.sources.spec import load_spec
from tests.sources.conftest import SAMPLE_SOURCES, read_rows


@pytest.mark.parametrize("backwards", [False, True])
def test_files_and_languages_come_in_a_fixed_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backwards: bool
) -> None:
    source, glob = load_spec("alpaca"), Path.glob

    def listed(directory: Path, pattern: str) -> list[Path]:
        return sorted(glob(directory, pattern), reverse=backwards)  # as a disk may list them

    monkeypatch.setattr(Path, "glob", listed)
    for language in ("fi", "en"):
        (tmp_path / language).mkdir()
        for name in ("b.json", "a.json"):
            (tmp_path / language / name).write_text("[]")
    found = native_files(source, tmp_path, ["fi", "en", "sv", "code"])
    assert [file.relative for file in found] == [
        "en/a.json", "en/b.json", "fi/a.json", "fi/b.json",
    ]  # fmt: skip
    assert [file.language for file in found] == ["en", "en", "fi", "fi"]
    assert native_files(source, tmp_path, ["sv"]) == []


def test_a_language_column_decides_in_files_of_several_languages(tmp_path: Path) -> None:
    def item(language: str) -> str:
        return json.dumps({"id": "1", "question": {}, "answerKey": "A",
                           "info": {"grade": 1, "subject": "", "language": language}})  # fmt: skip

    (tmp_path / "multilingual").mkdir()
    (tmp_path / "multilingual" / "train.jsonl").write_text(
        "\n".join(map(item, ["Bulgarian", "Turkish", "German", "Bulgarian"]))
    )
    found = read_rows(load_spec("exams"), tmp_path, "bg", "de")
    assert [(row.number, row.language) for row in found] == [(1, "bg"), (3, "de"), (4, "bg")]


def test_missing_files_are_named_with_the_language_and_the_pattern(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "en.json.gz").write_bytes(b"")
    with pytest.raises(MissingInputError) as caught:
        native_files(load_spec("bactrian_x"), tmp_path, ["en", "fi", "sv"])
    assert str(caught.value) == (
        f"{tmp_path}: no file for fi, sv; expected for fi: data/fi.json.gz"
    )


def test_a_file_may_have_any_of_its_layouts(tmp_path: Path) -> None:
    source = load_spec("include")
    for language, columns in (("German", ["choices"]), ("Finnish", ["option_a", "option_b"])):
        (tmp_path / language).mkdir()
        table = {name: ["x"] for name in ["question", *columns, "answer"]}
        pq.write_table(pa.table(table), tmp_path / language / "test.parquet")
    assert len(read_rows(source, tmp_path, "de")) == 1
    with pytest.raises(DataError, match=r"expected question, option_a.* or question, choices"):
        read_rows(source, tmp_path, "fi")


@pytest.mark.parametrize("name", SAMPLE_SOURCES)
@pytest.mark.parametrize("evaluation", [True, False])
def test_a_listing_has_the_files_that_a_directory_has(
    sample_raw: Path, name: str, evaluation: bool
) -> None:
    spec, directory = load_spec(name), sample_raw / name
    paths = [file.relative_to(directory).as_posix() for file in tree_files(directory)]
    if spec.is_evaluation_only and not evaluation:
        assert wanted_files(spec, LANGUAGES, paths, evaluation=False) == []
        return
    for languages in (["en", "de"], list(LANGUAGES)):
        there = native_files(spec, directory, languages, evaluation=evaluation)
        wanted = wanted_files(spec, languages, paths, evaluation=evaluation)
        assert {file.relative for file in there} == set(wanted)
        assert uncovered(spec, languages, paths) == []


def test_languages_without_a_file_are_known_from_a_listing() -> None:
    bactrian = load_spec("bactrian_x")
    assert uncovered(bactrian, ["en", "fi", "el"], ["data/fi.json.gz", "data/en.json"]) == ["en"]
    assert uncovered(load_spec("exams"), LANGUAGES, ["multilingual/train.jsonl"]) == []


def test_languages_that_have_evaluation_files_only_may_be_left_out(tmp_path: Path) -> None:
    for language, split in (("bg", "train"), ("de", "test")):
        (tmp_path / language).mkdir()
        (tmp_path / language / f"{split}.jsonl").touch()
    spec = load_spec("exams")
    found = [file.relative for file in native_files(spec, tmp_path, ["bg", "de"])]
    assert found == ["de/test.jsonl", "bg/train.jsonl"]
    found = [file.relative for file in native_files(spec, tmp_path, ["bg", "de"], evaluation=False)]
    assert found == ["bg/train.jsonl"]
    with pytest.raises(MissingInputError, match="no file for pl; expected for pl: pl/"):
        native_files(spec, tmp_path, ["bg", "pl"], evaluation=False)
