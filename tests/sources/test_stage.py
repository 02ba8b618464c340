"""The fetch stage: same bytes again, and one clear line for what is missing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from minilingua.core.errors import DataError, MissingInputError, ParamsError
from minilingua.core.files import sha256_file, tree_digest, tree_files
from minilingua.params import Params
from minilingua.params_file import load_params
from minilingua.sources.stage import run
from tests.sources.conftest import SAMPLE_SOURCES

REPOSITORY = Path(__file__).parents[2]
SMALL = {"facts": 60, "instruction_rows": 24, "mcqa_rows": 16, "code_rows": 10}


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def params(seed: int = 1, languages: list[str] | None = None, **sources: Any) -> Params:
    raw = load_params(REPOSITORY / "params.yaml").model_dump(mode="json")
    raw["seed"] = seed
    raw["languages"] = languages or raw["languages"]
    raw["mixture"]["weights"] = None
    everything = {"licence": "any", "evaluation_sets": "include"}
    origin = {"sample": SMALL, "origin": "sample", "mirror": None}
    raw["sources"] |= everything | origin | sources
    return Params.model_validate_json(json.dumps(raw))


def manifest() -> Any:
    return json.loads(Path("data/raw/manifest.json").read_text(encoding="utf-8"))


def test_two_generations_have_the_same_bytes_and_another_seed_has_not() -> None:
    digests = []
    for seed in (1, 1, 2):
        run(params(seed))
        digests.append(tree_digest(Path("data/raw")))
    assert digests[0] == digests[1] != digests[2]


def test_the_manifest_accounts_for_every_file_and_row() -> None:
    run(params())
    written = manifest()
    for name in SAMPLE_SOURCES:
        described = written["details"]["sources"][name]
        native = [
            file.relative_to(f"data/raw/{name}").as_posix()
            for file in tree_files(Path("data/raw") / name)
            if file.name != "facts.json"
        ]
        assert sorted(described["files"]) == native
        for relative, file in described["files"].items():
            assert file["sha256"] == sha256_file(Path("data/raw") / name / relative)
        rows = sum(file["rows"] for file in described["files"].values())
        assert rows == sum(written["kept"][name].values())
        assert described["licence"] == "Unicode-3.0"
    per_language: dict[str, int] = {}
    for kept in written["kept"].values():
        for language, rows in kept.items():
            per_language[language] = per_language.get(language, 0) + rows
    assert per_language.pop("code") == 10
    assert len(per_language) == 13
    assert set(per_language.values()) == {24 + 16}


def test_a_language_gets_the_same_rows_whichever_others_are_asked_for() -> None:
    run(params())
    all_of_them = Path("data/raw/bactrian_x/data/fi.json.gz").read_bytes()
    run(params(languages=["fi"]))
    assert Path("data/raw/bactrian_x/data/fi.json.gz").read_bytes() == all_of_them
    assert set(manifest()["kept"]["include"]) == {"fi"}


def test_a_mirror_is_copied_with_the_licences_of_the_real_sources() -> None:
    run(params())
    shutil.move("data/raw", "mirror")
    Path("mirror/buffet/xnli/bg/xnli_test.tsv").write_text("a benchmark\tnot for training\n")
    run(params(origin="mirror", mirror="mirror"))
    copied = {
        file.relative_to("data/raw").as_posix()
        for file in tree_files(Path("data/raw"))
        if file.name != "manifest.json"
    }
    expected = {
        file.relative_to("mirror").as_posix()
        for file in tree_files(Path("mirror"))
        if file.name not in {"manifest.json", "facts.json", "xnli_test.tsv"}
    }
    assert copied == expected
    for name in copied:
        assert (Path("data/raw") / name).read_bytes() == (Path("mirror") / name).read_bytes()
    sources = manifest()["details"]["sources"]
    assert sources["bactrian_x"]["licence"] == "CC-BY-NC-4.0"
    assert sources["bactrian_x"]["commercial_use"] is False


def test_a_mirror_that_is_not_there_is_named() -> None:
    with pytest.raises(MissingInputError, match=r"sources\.mirror: nowhere is not a directory"):
        run(params(origin="mirror", mirror="nowhere"))


def test_a_source_or_file_that_a_mirror_lacks_is_named_and_nothing_is_left() -> None:
    run(params())
    shutil.move("data/raw", "mirror")
    Path("mirror/bactrian_x/data/sv.json.gz").unlink()
    with pytest.raises(MissingInputError) as caught:
        run(params(origin="mirror", mirror="mirror"))
    assert str(caught.value) == (
        "mirror/bactrian_x: no file for sv; expected for sv: data/sv.json.gz"
    )
    assert list(Path("data").iterdir()) == []
    shutil.rmtree("mirror/bactrian_x")
    with pytest.raises(MissingInputError, match=r"mirror/bactrian_x is missing: .*Bactrian-X"):
        run(params(origin="mirror", mirror="mirror"))


def test_a_damaged_mirror_leaves_the_old_data() -> None:
    run(params())
    before = tree_digest(Path("data/raw"))
    shutil.copytree("data/raw", "mirror")
    Path("mirror/alpaca/cs/alpaca_cleaned_cs.json").write_text('[{"prompt": "x"}]')
    with pytest.raises(DataError, match=r"cs\.json:1: found columns prompt; expected instruction"):
        run(params(origin="mirror", mirror="mirror"))
    assert tree_digest(Path("data/raw")) == before


def test_more_facts_than_there_are_is_one_clear_line() -> None:
    with pytest.raises(ParamsError, match=r"sources\.sample\.facts: 5000, but .* suffice for \d+"):
        run(params(sample=SMALL | {"facts": 5000}))


def test_benchmarks_become_a_part_of_the_raw_data() -> None:
    Path("quizzes/deep").mkdir(parents=True)
    Path("quizzes/deep/quiz.txt").write_text("Who was it?\n")
    Path("quizzes/README.md").write_text("What this is.\n")
    run(params(benchmarks="quizzes"))
    assert Path("data/raw/benchmarks/deep/quiz.txt").read_text() == "Who was it?\n"
    assert list(manifest()["details"]["benchmarks"]) == ["deep/quiz.txt"]


@pytest.mark.parametrize(("directory", "what"), [("absent", "not a directory"), ("void", "empty")])
def test_benchmarks_that_are_not_there_are_named(directory: str, what: str) -> None:
    Path("void").mkdir()
    with pytest.raises(MissingInputError, match=rf"sources\.benchmarks: .* is {what}"):
        run(params(benchmarks=directory))
