"""The sample's files look like the real ones, oddities included."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq


def table(path: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_bactrian_is_gzip_without_a_time_and_has_an_empty_output(sample_raw: Path) -> None:
    data = (sample_raw / "bactrian_x" / "data" / "sv.json.gz").read_bytes()
    assert data[4:8] == b"\0\0\0\0"
    rows = [json.loads(line) for line in gzip.decompress(data).splitlines()]
    assert all(set(row) == {"instruction", "input", "id", "output"} for row in rows)
    assert Counter(bool(row["output"]) for row in rows)[False] == 1
    assert {bool(row["input"]) for row in rows} == {True, False}
    assert {row["id"].partition("-")[0] for row in rows} == {"alpaca", "dolly"}


def test_alpaca_repeats_prompts_of_bactrian(sample_raw: Path) -> None:
    data = (sample_raw / "bactrian_x" / "data" / "cs.json.gz").read_bytes()
    known = {json.loads(line)["instruction"] for line in gzip.decompress(data).splitlines()}
    own = json.loads((sample_raw / "alpaca" / "cs" / "alpaca_cleaned_cs.json").read_text())
    assert sum(row["instruction"] in known for row in own) >= 2


def test_buffet_has_no_header_and_six_few_shot_files_a_language(sample_raw: Path) -> None:
    folder = sample_raw / "buffet" / "tydiqa" / "fi"
    assert sorted(path.name for path in folder.iterdir()) == [
        f"tydiqa_8_{seed}_{split}.tsv" for seed in (100, 13, 21) for split in ("dev", "train")
    ]
    for path in folder.iterdir():
        for line in path.read_text(encoding="utf-8").splitlines():
            assert line.count("\t") == 1
            assert not line.startswith("input\t")


def test_aya_mixes_languages_in_one_file(sample_raw: Path) -> None:
    rows = table(sample_raw / "aya" / "data" / "train-00000-of-00001.parquet")
    assert len({row["language_code"] for row in rows[:20]}) > 5
    assert {(row["language"], row["language_code"]) for row in rows} >= {("Greek", "ell")}


def test_arc_has_letters_and_digits_and_three_to_five_options(sample_raw: Path) -> None:
    rows = [
        row
        for split in ("train", "validation")
        for row in table(sample_raw / f"arc_challenge/ARC-Challenge/{split}-00000-of-00001.parquet")
    ]
    assert {len(row["choices"]["text"]) for row in rows} == {3, 4, 5}
    assert {row["answerKey"].isdigit() for row in rows} == {True, False}
    assert all(row["answerKey"] in row["choices"]["label"] for row in rows)


def test_swefaq_has_many_candidates_and_counts_from_zero(sample_raw: Path) -> None:
    rows = [row for split in ("train", "dev") for row in
            lines(sample_raw / f"swefaq/swefaq_{split}.jsonl")]  # fmt: skip
    sizes = {len(row["candidate_answers"]) for row in rows}
    assert min(sizes) >= 4
    assert 20 < max(sizes) <= 34
    assert min(row["label"] for row in rows) == 0


def test_truthfulqa_has_the_right_choice_first(sample_raw: Path) -> None:
    rows = table(sample_raw / "truthfulqa_cs/multiple_choice/validation-00000-of-00001.parquet")
    assert len({len(row["mc1_targets"]["choices"]) for row in rows}) > 4
    for row in rows:
        first, *others = row["mc1_targets"]["labels"]
        assert first == 1
        assert not any(others)


def test_exams_has_both_forms_odd_counts_and_bad_keys(sample_raw: Path) -> None:
    polish = lines(sample_raw / "exams/pl/train.jsonl") + lines(sample_raw / "exams/pl/dev.jsonl")
    assert {len(row["question"]["choices"]) for row in polish} == {3, 4, 5}
    hub = table(sample_raw / "exams/multilingual/test-00000-of-00001.parquet")
    assert Counter(row["info"]["language"] for row in hub).keys() == {"German", "Spanish", "French"}
    assert Counter(row["answerKey"] for row in hub)["@"] == 2
    assert set(hub[0]["question"]["choices"]) == {"text", "label", "para"}


def test_include_has_four_columns_of_options(sample_raw: Path) -> None:
    rows = table(sample_raw / "include/Greek/test-00000-of-00001.parquet")
    assert {row["answer"] for row in rows} == {0, 1, 2, 3}
    assert all(len({row[f"option_{letter}"] for letter in "abcd"}) == 4 for row in rows)
    assert {row["language"] for row in rows} == {"Greek"}
