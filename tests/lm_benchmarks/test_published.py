"""The table: ours beside what was published, marked."""

from typing import Any

from minilingua.core.records import Score
from minilingua.lm_benchmarks.published import Difference, markdown, published
from minilingua.lm_benchmarks.units import TASKS
from tests.lm_benchmarks.conftest import ROOT


def _score(**changes: Any) -> Score:
    values: dict[str, Any] = {
        "model": "result",
        "task": "belebele_chat",
        "language": "all",
        "answer_format": "letter",
        "instruction_language": "en",
        "metric": "acc",
        "value": 0.3125,
        "stderr": 0.01,
        "n": 900,
    }
    return Score(**(values | changes))


def test_published_figures_are_of_known_tasks_and_forms() -> None:
    source = published()
    for model in ("base", "result"):
        for row in source[model]:
            task = TASKS[row["task"]]
            assert task.is_chat == (model == "result")
            assert row.get("format", task.answer_formats[0]) in task.answer_formats
            assert len(row["figures"]) == len(source["models"])
            assert all(0 < figure < 1 for figure in row["figures"])
            assert row.get("note") is None or row["note"] in source["notes"]
    assert len(source["base"]) + len(source["result"]) == 17


def test_ours_stand_beside_the_published() -> None:
    scores = [
        _score(),
        _score(metric="chance", value=0.25, stderr=None),
        _score(language="fi", value=0.9),
        _score(model="base", value=0.24),
    ]
    difference = Difference(
        task="belebele_chat",
        answer_format="letter",
        instruction_language="en",
        metric="acc",
        difference=0.0725,
        low=0.01,
        high=0.13,
        p=0.02,
        n=900,
    )
    lines = markdown(scores, [difference]).splitlines()
    assert lines[0].count("**published**") == 2
    assert "result - base (p)" in lines[0]
    (row,) = [line for line in lines if line.startswith("| belebele_chat | letter | en ")]
    assert row == (
        "| belebele_chat | letter | en | acc | 0.250 | 0.240 ± 0.010 | 0.312 ± 0.010 "
        "| +0.072 (0.020) |  | 0.262 |"
    )


def test_without_scores_all_is_said_to_be_not_run() -> None:
    lines = markdown([]).splitlines()
    rows = [line for line in lines if line.startswith("| ") and "published" not in line]
    assert len(rows) > 15
    assert all(line.count("not run") == 2 for line in rows)
    assert "| belebele | letter |  | acc |  | not run | not run |  | 0.230 (1) |  |" in rows


def test_the_documentation_holds_the_published_figures() -> None:
    text = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith(("| base: ", "| SFT: "))
    ]
    shown = [[float(cell) for cell in row[4:8]] for row in rows]
    source = published()
    assert shown == [row["figures"] for model in ("base", "result") for row in source[model]]
    assert [row[2] for row in rows if row[0].startswith("SFT")] == [
        {"en": "English", "native": "native"}[row["instruction"]] for row in source["result"]
    ]
    assert {row[8] for row in rows} == {"not run yet"}
