"""The readers on the generated sample and on real rows."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minilingua.core.errors import DataError, MissingInputError, ParamsError
from minilingua.core.languages import LANGUAGES
from minilingua.core.manifest import Manifest
from minilingua.core.records import InstructionExample, MultipleChoiceItem
from minilingua.core.rejects import ROWS_PER_REASON
from minilingua.core.seeding import content_id
from minilingua.sources.read import read_instructions, read_multiple_choice
from minilingua.sources.spec import load_spec
from tests.sources.conftest import in_sample

REAL = Path(__file__).parents[3] / "shared" / "data"
needs_real_rows = pytest.mark.skipif(
    not REAL.is_dir(), reason="the folder shared/data beside the repository is absent"
)


def questions(raw: Path, name: str, *languages: str) -> tuple[list[MultipleChoiceItem], Manifest]:
    manifest = Manifest(stage="test")
    return list(read_multiple_choice(raw, name, languages or list(LANGUAGES), manifest)), manifest


def exchanges(raw: Path, name: str, *languages: str) -> tuple[list[InstructionExample], Manifest]:
    manifest = Manifest(stage="test")
    return list(read_instructions(raw, name, languages or list(LANGUAGES), manifest)), manifest


@pytest.mark.parametrize("name", in_sample("multiple_choice"))
def test_the_sample_has_questions_in_every_language_of_a_source(
    sample_raw: Path, name: str
) -> None:
    items, _ = questions(sample_raw, name)
    assert {item.language for item in items} == set(load_spec(name).languages)
    assert all(item.fact and 0 <= item.answer < len(item.options) for item in items)
    assert all(item.row.startswith(f"{name}/") for item in items)
    assert len({item.row for item in items}) == len(items)


@pytest.mark.parametrize("name", in_sample("instruction", "code"))
def test_the_sample_has_exchanges_in_every_language_of_a_source(
    sample_raw: Path, name: str
) -> None:
    examples, _ = exchanges(sample_raw, name)
    assert {example.language for example in examples} == set(load_spec(name).languages)
    for example in examples:
        assert [message.role for message in example.messages] == ["user", "assistant"]
        assert example.key == content_id(example.language + example.messages[0].content)
        assert example.task == ("code" if name == "self_oss_instruct" else "instruction")


def test_reading_twice_gives_the_same_records_in_the_same_order(sample_raw: Path) -> None:
    for name in in_sample("multiple_choice"):
        assert questions(sample_raw, name)[0] == questions(sample_raw, name)[0]


def test_only_the_languages_asked_for_are_read(sample_raw: Path) -> None:
    for name in ("exams", "include"):
        items, manifest = questions(sample_raw, name, "de", "sv", "code")
        assert {item.language for item in items} == {"de"}
        assert {language for _, _, language in manifest.dropped} <= {"de"}
    assert questions(sample_raw, "swefaq", "de")[0] == []


def test_rejected_rows_are_counted_and_the_first_ones_explained(sample_raw: Path) -> None:
    _, manifest = questions(sample_raw, "exams")
    assert manifest.dropped == {
        ("key_outside_options", "exams", "de"): 2,
    }
    place = "exams/multilingual/test-00000-of-00001.parquet"
    assert sorted((row.row, row.found) for row in manifest.rejects.rows()) == [
        (f"{place}:1", "answerKey '@' is not among the labels A, B, C, D"),
        (f"{place}:2", "answerKey '@' is not among the labels A, B, C"),
    ]
    _, manifest = exchanges(sample_raw, "bactrian_x")
    assert manifest.reasons() == {"empty_answer": len(load_spec("bactrian_x").languages)}
    explained = manifest.rejects.rows()
    assert len(explained) == ROWS_PER_REASON
    assert {(row.reason, row.found) for row in explained} == {("empty_answer", "output is empty")}


def test_facts_are_attached_where_the_source_tells_them(sample_raw: Path, tmp_path: Path) -> None:
    with_facts, _ = questions(sample_raw, "swefaq")
    shutil.copytree(sample_raw / "swefaq", tmp_path / "swefaq")
    (tmp_path / "swefaq" / "facts.json").unlink()
    without, _ = questions(tmp_path, "swefaq")
    assert all(item.fact for item in with_facts)
    assert [item.fact for item in without] == [None] * len(with_facts)
    assert [item.question for item in without] == [item.question for item in with_facts]


def test_missing_raw_data_says_which_stage_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"swefaq: no file for sv; .*`minilingua fetch`"):
        questions(tmp_path, "swefaq")


def test_a_source_of_the_other_kind_is_refused(sample_raw: Path) -> None:
    with pytest.raises(ParamsError, match="source 'aya' is of kind instruction, not multiple_cho"):
        questions(sample_raw, "aya")


def test_a_row_of_another_shape_names_file_row_and_key(tmp_path: Path) -> None:
    row = {"category_id": 1, "question": "q", "candidate_answers": ["a", "b"], "label": 0}
    lines = [row | {"meta": {}}, row | {"meta": {}, "label": "b"}]
    (tmp_path / "swefaq").mkdir()
    path = tmp_path / "swefaq" / "swefaq_dev.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError) as caught:
        questions(tmp_path, "swefaq")
    assert str(caught.value) == f"{path}:2: label: expected a whole number, found 'b'"


def test_a_conversation_of_several_turns_keeps_them_all(tmp_path: Path) -> None:
    rows = [
        {"conversations": ["Hi.", "Hello.", "More?", "No."], "source": "multi_turn"},
        {"conversations": ["Hi."], "source": "a prompt of the test split"},
        {"conversations": ["Why\ud800?", "So."], "source": "half a character"},
        {"conversations": ["Why?", "So."], "source": "one turn each"},
    ]
    (tmp_path / "lima").mkdir()
    (tmp_path / "lima" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    examples, manifest = exchanges(tmp_path, "lima")
    assert [(turn.role, turn.content) for turn in examples[0].messages] == [
        ("user", "Hi."), ("assistant", "Hello."), ("user", "More?"), ("assistant", "No."),
    ]  # fmt: skip
    assert examples[0].key == content_id("enHi.")
    assert [example.row for example in examples] == [
        "lima/train.jsonl:1", "lima/train.jsonl:4",
    ]  # fmt: skip
    assert manifest.reasons() == {"invalid_text": 1, "unanswered_prompt": 1}


@pytest.mark.parametrize("name", ["lima", "mcqa_minilingua", "aya_collection"])
def test_unverified_columns_fail_with_those_that_are_there(tmp_path: Path, name: str) -> None:
    spec = load_spec(name)
    pattern = spec.layouts[0].files[0].format(language=spec.languages["en"]).replace("*", "0")
    path = tmp_path / name / pattern
    path.parent.mkdir(parents=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"question": ["q"], "gold": [1]}), path)
    else:
        path.write_text('{"question": "q", "gold": 1}')
    with pytest.raises(DataError, match="found columns gold, question; expected"):
        exchanges(tmp_path, name, "en")


@needs_real_rows
@pytest.mark.parametrize(
    ("line", "change", "outcome"),
    [
        (7, lambda row: row | {"answerKey": "@"}, {"key_outside_options": 1}),
        (7, lambda row: row | {"id": "the same"}, {}),
        (3, lambda row: row | {"question": row["question"] | {"stem": "x" * (50 << 20)}}, {}),
        (9, lambda row: {"answer": row.pop("answerKey"), **row}, "9: found columns answer, id,"),
        (9, lambda row: row | {"question": "no object"}, "9: choices is missing"),
        (5, lambda row: b"\xff" + json.dumps(row).encode(), "5: not UTF-8: .* at byte 0 of the"),
        (5, lambda row: json.dumps(row).encode()[:-9], "5: not JSON"),
    ],
)
def test_of_real_rows_with_bad_ones_among_them_no_good_one_is_lost(
    tmp_path: Path, line: int, change: Callable[[Any], Any], outcome: dict[str, int] | str
) -> None:
    lines = (REAL / "exams/pt/train.jsonl").read_bytes().splitlines()
    for number in (line, line + 100):
        changed = change(json.loads(lines[number - 1]))
        encoded = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        lines[number - 1] = encoded
    (tmp_path / "exams" / "pt").mkdir(parents=True)
    (tmp_path / "exams" / "pt" / "train.jsonl").write_bytes(b"\n".join(lines))
    if isinstance(outcome, str):
        with pytest.raises(DataError, match=rf"pt/train\.jsonl:{outcome}"):
            questions(tmp_path, "exams", "pt")
        return
    items, manifest = questions(tmp_path, "exams", "pt")
    assert manifest.reasons() == {reason: 2 * count for reason, count in outcome.items()}
    assert len(items) == len(lines) - manifest.dropped.total()


@needs_real_rows
def test_real_exams_read_alike_in_both_forms(tmp_path: Path) -> None:
    release, hub = tmp_path / "release", tmp_path / "hub"
    for language in ("bg", "it", "pl", "pt"):
        shutil.copytree(REAL / "exams" / language, release / "exams" / language)
    (hub / "exams" / "multilingual").mkdir(parents=True)
    shutil.copy(REAL / "exams/hf_multilingual/validation.parquet", hub / "exams/multilingual")
    items, manifest = questions(release, "exams", "bg", "it", "pl", "pt")
    hub_items, _ = questions(hub, "exams", "bg", "it", "pl", "pt")
    counts = Counter(item.language for item in items)
    assert counts == {"bg": 965, "it": 620, "pl": 846, "pt": 461}
    assert not manifest.dropped  # of two rows a wrong option stands twice: once is enough
    assert Counter(len(item.options) for item in items if item.language == "it")[3] > 40

    def content(item: MultipleChoiceItem) -> tuple[str, str, tuple[str, ...], int]:
        return item.language, item.question, item.options, item.answer

    development = [item for item in items if "/dev.jsonl:" in item.row]
    assert Counter(map(content, development)) == Counter(map(content, hub_items))


@needs_real_rows
def test_real_arc_reads_alike_in_both_forms_and_keeps_digit_keys(tmp_path: Path) -> None:
    release, hub = tmp_path / "release" / "arc_challenge", tmp_path / "hub" / "arc_challenge"
    release.mkdir(parents=True)
    (hub / "ARC-Challenge").mkdir(parents=True)
    source = REAL / "arc_challenge"
    shutil.copy(source / "ARC-Challenge-Dev.jsonl", release)
    shutil.copy(
        source / "validation.parquet", hub / "ARC-Challenge" / "validation-00000-of-00001.parquet"
    )
    items, _ = questions(release.parent, "arc_challenge")
    hub_items, _ = questions(hub.parent, "arc_challenge")
    assert len(items) == 299
    assert [(item.question, item.options, item.answer) for item in items] == [
        (item.question, item.options, item.answer) for item in hub_items
    ]
    text = (release / "ARC-Challenge-Dev.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    keyed_by_digit = [index for index, row in enumerate(rows) if row["answerKey"].isdigit()]
    assert keyed_by_digit
    assert all(items[index].answer == int(rows[index]["answerKey"]) - 1 for index in keyed_by_digit)


@needs_real_rows
def test_real_swefaq_keeps_all_candidates(tmp_path: Path) -> None:
    (tmp_path / "swefaq").mkdir()
    shutil.copy(REAL / "swefaq" / "swefaq_dev.jsonl", tmp_path / "swefaq")
    items, manifest = questions(tmp_path, "swefaq")
    assert (len(items), manifest.dropped) == (110, {})
    text = (REAL / "swefaq" / "swefaq_dev.jsonl").read_text(encoding="utf-8")
    first = json.loads(text.partition("\n")[0])
    assert len(items[0].options) == len(first["candidate_answers"])
    assert items[0].options[items[0].answer] == first["candidate_answers"][first["label"]].strip()


@needs_real_rows
def test_real_truthfulqa_has_its_correct_choice_first(tmp_path: Path) -> None:
    folder = tmp_path / "truthfulqa_cs" / "multiple_choice"
    folder.mkdir(parents=True)
    shutil.copy(
        REAL / "truthfulqa_multi" / "es.parquet", folder / "validation-00000-of-00001.parquet"
    )
    items, manifest = questions(tmp_path, "truthfulqa_cs")
    assert (len(items), manifest.dropped) == (
        400,
        {},
    )  # some with an empty wrong option, or one twice
    assert {item.answer for item in items} == {0}
    assert len({len(item.options) for item in items}) > 5
