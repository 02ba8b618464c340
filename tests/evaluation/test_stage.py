"""The whole stage on tiny models: outputs, repeatability, errors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import read_jsonl, tree_digest
from minilingua.core.records import ItemResult
from minilingua.evaluation.metrics import METRICS
from minilingua.evaluation.open_answers import WrittenAnswer
from minilingua.evaluation.stage import run

from .conftest import LINES_TEMPLATE, write_tokenizer

Make = Callable[..., Any]


def test_scores_summary_and_table(
    world: Path, params_for: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    run(params_for())
    written = tree_digest(world / "reports")
    scores = json.loads((world / "reports/evaluation.json").read_text())
    assert {s["model"] for s in scores} == {"base", "result"}
    assert {s["task"] for s in scores} == {
        "mcqa",
        "mcqa_seen_facts",
        "mcqa_unseen_facts",
        "mcqa_generated",
        "mcqa_generated_seen_facts",
        "mcqa_generated_unseen_facts",
        "answers",
        "loss",
        "loss_shuffled_prompts",
        "unigram_loss",
    }
    assert {s["language"] for s in scores} == {"en", "fi", "all"}
    assert {s["metric"] for s in scores} <= set(METRICS)
    overall = [
        s["n"]
        for s in scores
        if (s["task"], s["metric"], s["language"]) == ("mcqa", "accuracy", "all")
        and s["answer_format"] == s["instruction_language"] == "all"
    ]
    assert overall == [24, 24]
    summary = json.loads((world / "reports/evaluation_summary.json").read_text())
    assert summary["base"]["unigram_loss"] == summary["result"]["unigram_loss"]
    assert summary["base"]["loss"] != summary["result"]["loss"]
    assert 0 <= summary["result"]["accuracy_text_unseen_facts"] <= 1
    assert summary["result"]["bits_per_byte"] > 0
    table = capsys.readouterr().out
    assert f"{summary['result']['loss']:.3f}" in table
    assert "fi" in table
    assert "And you?" in table

    shutil.rmtree(world / "runs")
    run(params_for())
    assert tree_digest(world / "reports") == written


def test_the_details_lie_beside(world: Path, params_for: Make) -> None:
    run(params_for())
    details = world / "reports/evaluation"
    items = list(read_jsonl(details / "items.jsonl", ItemResult))
    assert {i.model for i in items} == {"base", "result"}
    questions = [i for i in items if i.model == "base" and i.task == "mcqa"]
    assert len(questions) == 24
    told = {i.task: {j.fact for j in items if j.task == i.task} for i in items}
    assert told["mcqa"] == told["mcqa_generated"] == {f"fact-{number}" for number in range(4)}
    assert told["loss"] == told["loss_shuffled_prompts"] == {*told["mcqa"], None}
    assert told["answers"] == {None}  # nobody says what "And you?" asks
    answers = list(read_jsonl(details / "answers.jsonl", WrittenAnswer))
    assert [a.language for a in answers] == ["en", "fi"]
    comparisons = json.loads((details / "comparison.json").read_text())
    assert {c["language"] for c in comparisons} == {"en", "fi", "all"}
    assert all(0 < c["p"] <= c["q"] <= 1 for c in comparisons)
    overall = [c for c in comparisons if (c["task"], c["language"]) == ("mcqa", "all")]
    assert {(c["n"], c["draws"]) for c in overall} == {(8, 4)}
    assert (details / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_a_killed_evaluation_goes_on_where_it_was(
    world: Path, params_for: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(params_for())
    expected = tree_digest(world / "reports")
    logs = sorted((world / "runs/evaluation").glob("*.jsonl"))
    assert len(logs) == 4  # likelihoods and answers of two models
    for log in logs:  # as if it had been killed half-way
        lines = log.read_bytes().splitlines(keepends=True)
        log.write_bytes(b"".join(lines[: len(lines) // 2]) + b'[7, [["ha')
    shutil.rmtree(world / "reports")
    run(params_for())
    assert tree_digest(world / "reports") == expected

    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("minilingua.evaluation.model._score", never)
    monkeypatch.setattr("minilingua.evaluation.generation._generate", never)
    run(params_for())  # all of it is there
    assert tree_digest(world / "reports") == expected


def test_a_model_that_never_stops_is_told_of(
    world: Path, params_for: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    run(params_for(max_new_tokens=1))
    error = capsys.readouterr().err
    assert "models/hf ended none of 2 answers within evaluate.max_new_tokens" in error
    summary = json.loads((world / "reports/evaluation_summary.json").read_text())
    assert summary["result"]["stop_rate"] == 0.0


def test_contaminated_items_are_told_apart(world: Path, params_for: Make) -> None:
    found = {"set": "test", "item": "x", "key": "en-key-1", "is_dropped": False}
    (world / "data/conversations/contamination.jsonl").write_text(json.dumps(found) + "\n")
    run(params_for())
    scores = json.loads((world / "reports/evaluation.json").read_text())
    counts = {
        s["task"]: s["n"]
        for s in scores
        if (s["model"], s["metric"], s["language"]) == ("base", "accuracy", "all")
        and s["answer_format"] == s["instruction_language"] == "all"
    }
    assert (counts["mcqa"], counts["mcqa_uncontaminated"]) == (24, 21)


def test_batch_size_changes_no_figure_that_is_printed(world: Path, params_for: Make) -> None:
    summaries = []
    for batch_tokens in (128, 8192):
        run(params_for(batch_tokens=batch_tokens))
        summaries.append(json.loads((world / "reports/evaluation_summary.json").read_text()))
    for model in ("base", "result"):
        assert summaries[0][model] == pytest.approx(summaries[1][model], abs=1e-5)


@pytest.mark.parametrize(
    ("missing", "stage"),
    [
        ("models/tokenizer", "minilingua tokenizer"),
        ("models/base", "minilingua base"),
        ("models/hf", "minilingua convert"),
        ("data/tokens/train/en", "minilingua tokenize"),
    ],
)
def test_missing_inputs_name_their_stage(
    world: Path, params_for: Make, missing: str, stage: str
) -> None:
    shutil.rmtree(world / missing)
    with pytest.raises(MissingInputError, match=f"{missing}.* is missing; `{stage}` makes it"):
        run(params_for())
    assert not (world / "reports").exists()


def test_another_template_than_the_one_trained_with(world: Path, params_for: Make) -> None:
    write_tokenizer(world / "models/tokenizer", LINES_TEMPLATE)
    with pytest.raises(DataError, match="has other tokens than models/tokenizer gives it"):
        run(params_for())
