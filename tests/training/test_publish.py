import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from minilingua.core.errors import CheckpointError
from minilingua.core.events import (
    EndEvent,
    EvaluationEvent,
    LanguageLoss,
    StepEvent,
    read_events,
)
from minilingua.core.files import tree_digest
from minilingua.params import EarlyStoppingParams
from minilingua.training.early_stopping import Evaluated, decide
from minilingua.training.publish import publish
from minilingua.training.run_directory import RunDirectory

RULE = EarlyStoppingParams(
    enabled=True,
    patience=1,
    min_delta=0.0,
    warmup_steps=0,
    standard_errors=0.0,
    language_bound=None,
    language_stop=False,
)
LOSSES = {0: 4.0, 2: 3.0, 4: 3.5}


def step_event(step: int) -> StepEvent:
    return StepEvent(
        step=step,
        loss=4.0 - step / 10,
        learning_rate=0.1,
        grad_norm=1.0,
        tokens=100,
        supervised_tokens=30,
        conversations=3,
        sample_digest=f"{step:016x}",
    )


def finished_run(path: Path) -> RunDirectory:
    run = RunDirectory(path=path)
    run.describe(
        {"params": {"model": {"layers": 2}}, "vocab_size": 7, "tokenizer_digest": "digest"}
    )
    history: list[Evaluated] = []
    for step in (*range(5), 3, 4):  # two are replayed after a kill
        history = [item for item in history if item.step < step]
        if step:
            run.add(step_event(step))
        if step in LOSSES:
            loss = LOSSES[step]
            history.append(Evaluated(step=step, loss=loss))
            languages = {"fi": LanguageLoss(loss=loss, supervised_tokens=5)}
            run.add(EvaluationEvent(step=step, loss=loss, supervised_tokens=5, languages=languages))
            run.add(decide(history, RULE))
    run.add(EndEvent(step=4, reason="early_stop", best_step=2, best_loss=3.0))
    run.save_best(2, {"b": torch.ones(2), "a": torch.zeros(3)})
    return run


@pytest.fixture
def published(tmp_path: Path) -> Path:
    run = finished_run(tmp_path / "runs/k")
    publish(run, tmp_path / "model", tmp_path / "report")
    return tmp_path


def read_json(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_the_selected_weights_are_published(published: Path) -> None:
    with safe_open(published / "model/model.safetensors", "pt") as file:
        assert list(file.keys()) == ["a", "b"]
        assert not file.metadata()
        assert torch.equal(file.get_tensor("b"), torch.ones(2))
    assert read_json(published / "model/model.json") == {
        "model": {"layers": 2},
        "vocab_size": 7,
        "tokenizer_digest": "digest",
        "selected_step": 2,
        "validation_loss": 3.0,
    }


def test_events_are_those_of_an_uninterrupted_run(published: Path) -> None:
    events = list(read_events(published / "report/events.jsonl"))
    kinds = [(event.step, event.kind) for event in events]
    assert kinds == [
        (0, "evaluation"),
        (0, "decision"),
        (1, "step"),
        (2, "step"),
        (2, "evaluation"),
        (2, "decision"),
        (3, "step"),
        (4, "step"),
        (4, "evaluation"),
        (4, "decision"),
        (4, "end"),
    ]


def test_tables_say_what_the_events_say(published: Path) -> None:
    with (published / "report/loss.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["step"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert [row["train_loss"] for row in rows] == ["", "3.9", "3.8", "3.7", "3.6"]
    assert [row["validation_loss"] for row in rows] == ["4.0", "", "3.0", "", "3.5"]
    assert read_json(published / "report/metrics.json") == {
        "steps": 4,
        "stop_reason": "early_stop",
        "best_step": 2,
        "validation_loss": 3.0,
        "train_loss": 3.6,
        "tokens": 400,
        "supervised_tokens": 120,
        "packs_without_targets": 0,
    }
    stopping = read_json(published / "report/early_stopping.json")
    assert stopping["stopped"] is True
    assert stopping["stopped_at_step"] == 4
    assert stopping["best_step"] == 2
    verdicts = [decision["verdict"] for decision in stopping["decisions"]]
    assert verdicts == ["improved", "improved", "stop"]


def test_publishing_again_gives_the_same_bytes(published: Path, tmp_path: Path) -> None:
    before = tree_digest(published / "model"), tree_digest(published / "report")
    run = finished_run(tmp_path / "elsewhere/k")
    publish(run, published / "model", published / "report")
    assert (tree_digest(published / "model"), tree_digest(published / "report")) == before


def test_the_plot_is_a_picture_that_names_no_version(published: Path) -> None:
    picture = (published / "report/training_loss.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert b"atplotlib" not in picture
    assert b"tIME" not in picture


def test_a_run_that_has_not_ended_is_refused(tmp_path: Path) -> None:
    run = RunDirectory(path=tmp_path / "runs/k")
    with pytest.raises(CheckpointError, match="has not ended"):
        publish(run, tmp_path / "model", tmp_path / "report")
    assert not (tmp_path / "model").exists()
