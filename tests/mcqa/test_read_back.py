"""Every built item of the sample, and of real rows, is read back from its text alone."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from minilingua.core.files import read_jsonl
from minilingua.core.languages import LANGUAGES
from minilingua.core.records import InstructionExample
from minilingua.mcqa import stage
from minilingua.params import Params, SampleParams
from minilingua.params_file import load_params
from minilingua.sources.sample.generate import generate
from minilingua.sources.selection import used_sources
from tests.mcqa.read_back import (
    language_of,
    named_option,
    question_and_answer,
    raw_row,
    raw_rows,
    shown_list,
)

ROOT = Path(__file__).parents[2]
REAL = ROOT.parent / "shared" / "data"
RAW = Path("data/raw")
LANGUAGES_OF_REAL_ROWS = ("en", "it", "pt", "pl", "cs", "bg", "sv")

SAMPLE = SampleParams(facts=60, instruction_rows=13, mcqa_rows=40, code_rows=1)


@pytest.fixture(params=["sample", "real"], scope="module")
def workspace(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Params]:
    """Runs the stage on either data; returns where, and its parameters."""
    params = load_params(ROOT / "params.yaml")
    path = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        if request.param == "sample":
            sources = used_sources(params.sources, ("multiple_choice",))
            generate(RAW, sources, list(LANGUAGES), SAMPLE, params.seed)
        elif not REAL.is_dir():
            pytest.skip("the folder shared/data beside the repository, with real rows, is absent")
        else:
            copy_real_rows()
            sources = ("exams", "arc_challenge", "swefaq", "truthfulqa_cs")
            included = params.sources.model_copy(update={"include": sources})
            params = params.model_copy(
                update={"languages": LANGUAGES_OF_REAL_ROWS, "sources": included}
            )
        stage.run(params)
    return path, params


@pytest.fixture
def built(workspace: tuple[Path, Params], monkeypatch: pytest.MonkeyPatch) -> Params:
    """Goes where the stage was run; returns its parameters."""
    path, params = workspace
    monkeypatch.chdir(path)
    return params


def copy_real_rows() -> None:
    """Lays the real rows out as a mirror has them; a Spanish file stands in for the Czech one."""
    for language in ("it", "pt", "pl", "bg"):
        shutil.copytree(REAL / "exams" / language, RAW / "exams" / language)
    for name, source, target in (
        ("arc_challenge", "ARC-Challenge-Dev.jsonl", "ARC-Challenge-Dev.jsonl"),
        ("swefaq", "swefaq_dev.jsonl", "swefaq_dev.jsonl"),
        ("truthfulqa_multi", "es.parquet", "multiple_choice/validation-00000-of-00001.parquet"),
    ):
        to = RAW / name.replace("multi", "cs") / target
        to.parent.mkdir(parents=True)
        shutil.copy(REAL / name / source, to)


def examples(*directories: str) -> list[InstructionExample]:
    return [
        example
        for directory in directories
        for file in sorted(Path("data/mcqa", directory).glob("*.jsonl"))
        for example in read_jsonl(file, InstructionExample)
    ]


def test_the_right_answer_follows_from_the_text(built: Params) -> None:
    found = examples(".", "all_formats")
    assert len({example.language for example in found}) == len(built.languages) - (
        "code" in built.languages
    )
    for example in found:
        prompt, reply = (message.content for message in example.messages)
        question, answer = question_and_answer(raw_row(RAW, example.row))
        assert question.strip() in prompt, example.row
        assert named_option(prompt, reply) == " ".join(answer.split()), example.row
        assert 2 <= len(shown_list(prompt)) <= built.mcqa.shown_options


def test_what_is_said_of_an_item_agrees_with_its_text(built: Params) -> None:
    assert built.mcqa.shown_options == 4
    for example in examples(".", "all_formats"):
        prompt, reply = (message.content for message in example.messages)
        choice = example.choice
        assert choice is not None
        labels, options = zip(*shown_list(prompt), strict=True)
        style = {"A": "letter", "1": "number", "-": "text"}[labels[0]]
        assert choice.answer_format == style
        assert choice.options == options
        assert choice.candidates == (options if style == "text" else labels)
        assert choice.candidates[choice.answer] == reply


@pytest.mark.usefixtures("built")
def test_the_right_option_stands_anywhere() -> None:
    """TruthfulQA has it first; a model could learn that instead of the answer."""
    places = Counter(
        (example.source, example.choice.answer)
        for example in examples(".")
        if example.choice and len(example.choice.options) == 4
    )
    for source in {source for source, _ in places}:
        counts = [places[source, place] for place in range(4)]
        expected = sum(counts) / 4
        assert sum((count - expected) ** 2 / expected for count in counts) < 16.3, source  # p 0.001


def test_rows_in_are_rows_kept_and_dropped(built: Params) -> None:
    manifest = json.loads(Path("data/mcqa/manifest.json").read_text())
    read: Counter[tuple[str, str]] = Counter()
    for source in used_sources(built.sources, ("multiple_choice",)):
        for file in sorted((RAW / source).rglob("*.[jp]*")):
            if file.name != "facts.json":
                read.update((source, language_of(source, file, row)) for row in raw_rows(file))
    told: Counter[tuple[str, str]] = Counter()
    for by_source in (manifest["kept"], *manifest["dropped"].values()):
        for source, by_language in by_source.items():
            for language, rows in by_language.items():
                told[source, language] += rows
    assert told == read
    assert manifest["rows_kept"] + manifest["rows_dropped"] == read.total()
    assert manifest["rows_kept"] == len(examples("."))
