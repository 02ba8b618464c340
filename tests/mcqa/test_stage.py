import gc
import json
import tracemalloc
from collections import Counter
from itertools import groupby
from pathlib import Path

import pytest

from minilingua.core import processes
from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import read_jsonl, tree_digest
from minilingua.core.records import ANSWER_FORMATS, InstructionExample
from minilingua.core.rejects import Reject
from minilingua.mcqa import stage
from minilingua.mcqa.build import MAX_OPTION_CHARACTERS
from minilingua.params import Params
from minilingua.params_file import load_params
from tests.mcqa.read_back import named_option

ROOT = Path(__file__).parents[2]
NAMES = {"de": "German", "bg": "Bulgarian"}
SIZES = {"de": 37, "bg": 24, "en": 15}


def params() -> Params:
    committed = load_params(ROOT / "params.yaml")
    sources = committed.sources.model_copy(update={"include": ("exams", "arc_challenge", "aya")})
    return committed.model_copy(
        update={"languages": ("bg", "de", "en", "code"), "sources": sources}
    )


def exam_row(language: str, number: int, key: str | None = None) -> dict[str, object]:
    answer = number % 3
    choices = [
        {"text": f"option {number if place == answer else 900 + place}", "label": label}
        for place, label in enumerate("ABCD" if number % 2 else "ABC")
    ]
    info = {"grade": 8, "subject": "Zahlen", "language": NAMES.get(language, "English")}
    return {
        "id": f"{language}-{number}",
        "question": {"stem": f"{language}: {{which}} {number}?", "choices": choices},
        "answerKey": key or "ABC"[answer],
        "info": info,
    }


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for language in NAMES:
        rows = [exam_row(language, number) for number in range(SIZES[language])]
        write_rows(Path("data/raw/exams") / language / "train.jsonl", [*rows, rows[0]])
    write_rows(Path("data/raw/exams/de/dev.jsonl"), [exam_row("de", 500, key="@")])
    rows = [exam_row("en", number) for number in range(SIZES["en"])]
    for row in rows:
        del row["info"]
    write_rows(Path("data/raw/arc_challenge/ARC-Challenge-Train.jsonl"), rows)
    return tmp_path


def built(name: str) -> list[InstructionExample]:
    return list(read_jsonl(Path("data/mcqa") / f"{name}.jsonl", InstructionExample))


@pytest.mark.usefixtures("raw")
def test_every_built_item_answers_its_own_question() -> None:
    """Re-derives the answer from the prompt, and from how ``exam_row`` made the question."""
    stage.run(params())
    for language, size in SIZES.items():
        for name, formats in ((language, 1), (f"all_formats/{language}", 3)):
            examples = built(name)
            assert len(examples) == size * formats
            for example in examples:
                assert example.choice is not None
                number = int(example.choice.question.removesuffix("?").split()[-1])
                prompt, reply = example.messages
                assert named_option(prompt.content, reply.content) == f"option {number}"
                assert example.choice.question in example.messages[0].content
                assert (example.task, example.language) == ("mcqa", language)


@pytest.mark.usefixtures("raw")
def test_quotas_hold_in_the_files_and_in_the_manifest() -> None:
    stage.run(params())
    formats: Counter[str] = Counter()
    instructions: Counter[str] = Counter()
    manifest = json.loads(Path("data/mcqa/manifest.json").read_text())
    for language, size in SIZES.items():
        choices = [example.choice for example in built(language) if example.choice]
        here = Counter(choice.answer_format for choice in choices)
        spoken = Counter(choice.instruction_language for choice in choices)
        assert manifest["details"]["quotas"][language]["answer_formats"] == here
        assert all(
            abs(here[name] - share * size) < 1
            for name, share in params().mcqa.answer_formats.items()
        )
        formats.update(here)
        if language == "en":
            assert spoken == {"en": size}
        else:
            assert abs(spoken["en"] - 0.3 * size) < 1
            assert spoken["en"] + spoken[language] == size
            instructions.update("en" if code == "en" else "native" for code in spoken.elements())
    assert formats == {"letter": 30, "number": 23, "text": 23}  # of 76: 30.4, 22.8, 22.8
    assert instructions == {"en": 18, "native": 43}  # of 61: 18.3, 42.7
    total = manifest["details"]["quotas_total"]
    assert total["answer_formats"] == formats
    assert total["instructions_except_english"] == instructions


@pytest.mark.usefixtures("raw")
def test_the_seed_decides_which_question_gets_which_format() -> None:
    dealt = []
    for seed in (1, 2):
        stage.run(params().model_copy(update={"seed": seed}))
        dealt.append([example.choice.answer_format for example in built("de") if example.choice])
    assert sorted(dealt[0]) == sorted(dealt[1])
    assert dealt[0] != dealt[1]
    assert all(len(list(groupby(formats))) > 10 for formats in dealt), "not in one row each"


@pytest.mark.usefixtures("raw")
def test_drops_are_counted() -> None:
    stage.run(params())
    manifest = json.loads(Path("data/mcqa/manifest.json").read_text())
    assert manifest["rows_kept"] == sum(SIZES.values())
    assert manifest["dropped"]["repeated_question"] == {"exams": {"bg": 1, "de": 1}}
    assert manifest["dropped"]["key_outside_options"] == {"exams": {"de": 1}}
    assert manifest["rows_dropped"] == 3
    repeated = list(read_jsonl(Path("data/mcqa/rejects/repeated_question.jsonl"), Reject))
    assert [row.language for row in repeated] == ["bg", "de"]
    assert all(row.found.startswith("as exams/") and row.prompt and row.answer for row in repeated)
    (unreadable,) = read_jsonl(Path("data/mcqa/rejects/key_outside_options.jsonl"), Reject)
    assert "is not among the labels" in unreadable.found
    assert {path.stem for path in Path("data/mcqa/rejects").iterdir()} == set(manifest["dropped"])


@pytest.mark.usefixtures("raw")
def test_all_formats_hold_the_quota_example_and_its_two_siblings() -> None:
    stage.run(params())
    for language in SIZES:
        chosen = {example.key: example for example in built(language)}
        assert len(chosen) == SIZES[language]
        siblings: dict[str, list[InstructionExample]] = {}
        for example in built(f"all_formats/{language}"):
            siblings.setdefault(example.key, []).append(example)
        assert siblings.keys() == chosen.keys()
        for key, group in siblings.items():
            choices = [example.choice for example in group if example.choice]
            assert [choice.answer_format for choice in choices] == list(ANSWER_FORMATS)
            assert len({(choice.options, choice.instruction_language) for choice in choices}) == 1
            assert chosen[key] in group


@pytest.mark.usefixtures("raw")
def test_the_same_inputs_give_the_same_bytes_and_another_seed_others() -> None:
    stage.run(params())
    first = tree_digest(Path("data/mcqa"))
    stage.run(params())
    assert tree_digest(Path("data/mcqa")) == first
    stage.run(params().model_copy(update={"seed": 1}))
    assert tree_digest(Path("data/mcqa")) != first


@pytest.mark.usefixtures("raw")
def test_several_processes_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    stage.run(params())
    first = tree_digest(Path("data/mcqa"))
    monkeypatch.setattr(processes, "WORTH_PROCESSES", 0)
    monkeypatch.setattr(processes, "available_processors", lambda: 2)
    stage.run(params())
    assert tree_digest(Path("data/mcqa")) == first


@pytest.mark.usefixtures("raw")
def test_an_error_in_another_process_is_the_same_clear_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "WORTH_PROCESSES", 0)
    monkeypatch.setattr(processes, "available_processors", lambda: 2)
    with Path("data/raw/arc_challenge/ARC-Challenge-Train.jsonl").open("a") as stream:
        stream.write("{\n")
    with pytest.raises(DataError, match=r"ARC-Challenge-Train\.jsonl:16: not JSON"):
        stage.run(params())
    assert not Path("data/mcqa").exists()


@pytest.mark.usefixtures("raw")
def test_rejects_of_the_stage_are_explained() -> None:
    path = Path("data/raw/exams/bg/train.jsonl")
    row = exam_row("bg", 700)
    question = row["question"]
    assert isinstance(question, dict)
    for choice in question["choices"]:
        choice["text"] += "x" * MAX_OPTION_CHARACTERS
    with path.open("a") as stream:
        stream.write(json.dumps(row) + "\n")
    stage.run(params())
    manifest = json.loads(Path("data/mcqa/manifest.json").read_text())
    assert manifest["dropped"]["option_too_long"] == {"exams": {"bg": 1}}
    (reject,) = read_jsonl(Path("data/mcqa/rejects/option_too_long.jsonl"), Reject)
    assert (reject.row, reject.prompt) == ("exams/bg/train.jsonl:26", "bg: {which} 700?")
    assert reject.answer.endswith("x" * 100)


@pytest.mark.usefixtures("raw")
def test_the_instructions_of_the_reference_are_a_parameter() -> None:
    chosen = params().mcqa.model_copy(update={"english_instructions": 0.2})
    stage.run(params().model_copy(update={"mcqa": chosen}))
    for language, size in (("de", 37), ("bg", 24)):
        choices = [example.choice for example in built(language) if example.choice]
        in_english = sum(choice.instruction_language == "en" for choice in choices)
        assert abs(in_english - 0.2 * size) < 1


def peak_bytes(rows: int) -> int:
    """Python's peak memory of the stage on rows of about 2,500 characters."""
    path = Path("data/raw/exams/de/train.jsonl")
    filler = "x" * 600
    made = []
    for number in range(rows):
        row = exam_row("de", number)
        question = row["question"]
        assert isinstance(question, dict)
        for choice in question["choices"]:
            choice["text"] += f" {filler}"
        made.append(row)
    write_rows(path, made)
    gc.collect()  # garbage of other tests, if collected meanwhile, would count against the peak
    tracemalloc.start()
    try:
        stage.run(params().model_copy(update={"languages": ("de", "bg", "en")}))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("raw")
def test_memory_does_not_grow_with_the_rows() -> None:
    """An index of some 60 bytes a row may grow; the texts, of 2,500 bytes a row, may not."""
    peak_bytes(300)  # what is imported and cached at the first call counts for nothing
    few, many = peak_bytes(300), peak_bytes(3000)  # both fill the buffers of rows
    assert many - few < 2700 * 2500 / 10


def test_missing_raw_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingInputError, match=r"data/raw is missing; `minilingua fetch`"):
        stage.run(params())
