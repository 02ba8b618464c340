"""The whole stage on tiny models: outputs, repeatability, errors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minilingua.core.errors import DataError, MissingInputError
from minilingua.evaluation.stage import run

from .conftest import LINES_TEMPLATE, write_tokenizer

Make = Callable[..., Any]


def test_scores_summary_and_table(
    world: Path, params_for: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    run(params_for())
    written = (world / "reports/evaluation.json").read_bytes()
    scores = json.loads(written)
    assert {s["model"] for s in scores} == {"base", "result"}
    assert {s["task"] for s in scores} == {
        "mcqa",
        "mcqa_seen_facts",
        "mcqa_unseen_facts",
        "loss",
        "loss_shuffled_prompts",
        "unigram_loss",
    }
    assert {s["language"] for s in scores} == {"en", "fi", "all"}
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
    table = capsys.readouterr().out
    assert f"{summary['result']['loss']:.3f}" in table
    assert "fi" in table

    run(params_for())
    assert (world / "reports/evaluation.json").read_bytes() == written


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
