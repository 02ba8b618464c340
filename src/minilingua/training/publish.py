"""A finished run directory becomes the stage's outputs. The same run gives the same bytes.

best/step_N.safetensors ─► models/megatron/    model.safetensors, model.json
events.jsonl ────────────► reports/train/      events.jsonl, loss.csv, training_loss.png,
                                               early_stopping.json, metrics.json
"""

import csv
import io
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minilingua.core.errors import CheckpointError
from minilingua.core.events import (
    DecisionEvent,
    EndEvent,
    EvaluationEvent,
    Event,
    StepEvent,
    compact,
)
from minilingua.core.files import read_json, staged_directory, write_json, write_jsonl, write_text
from minilingua.training.plot import write_loss_plot
from minilingua.training.run_directory import RunDirectory

MODEL = Path("models/megatron")
REPORT = Path("reports/train")


def publish(run: RunDirectory, model: Path = MODEL, report: Path = REPORT) -> None:
    """Replaces the outputs of the train stage by those of a finished run.

    Raises:
        CheckpointError: the run has not ended, or cannot be read.
    """
    events = run.events()
    end = next((event for event in events if isinstance(event, EndEvent)), None)
    if end is None or not run.best_path(end.best_step).exists():
        raise CheckpointError(f"{run.path}: the training has not ended")
    events = compact(events, last_step=end.step)
    with staged_directory(model) as aside:
        shutil.copyfile(run.best_path(end.best_step), aside / "model.safetensors")
        write_json(aside / "model.json", _about_model(run, end))
    with staged_directory(report) as aside:
        write_jsonl(aside / "events.jsonl", events)
        write_text(aside / "loss.csv", _losses(events))
        write_loss_plot(aside / "training_loss.png", events)
        write_json(aside / "early_stopping.json", _early_stopping(events, end))
        write_json(aside / "metrics.json", _metrics(events, end))


def _about_model(run: RunDirectory, end: EndEvent) -> dict[str, Any]:
    about = read_json(run.path / "run.json")
    return {
        "model": about["params"]["model"],
        "vocab_size": about["vocab_size"],
        "tokenizer_digest": about["tokenizer_digest"],
        "selected_step": end.best_step,
        "validation_loss": end.best_loss,
    }


def _losses(events: Sequence[Event]) -> str:
    """Returns CSV: step, training loss of the step, validation loss after it where there is one."""
    train = {event.step: event.loss for event in events if isinstance(event, StepEvent)}
    validation = {event.step: event.loss for event in events if isinstance(event, EvaluationEvent)}
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["step", "train_loss", "validation_loss"])
    for step in sorted(train.keys() | validation.keys()):
        writer.writerow([step, train.get(step), validation.get(step)])
    return stream.getvalue()


def _early_stopping(events: Sequence[Event], end: EndEvent) -> dict[str, Any]:
    decisions = [event for event in events if isinstance(event, DecisionEvent)]
    return {
        "stopped": end.reason == "early_stop",
        "stopped_at_step": end.step if end.reason == "early_stop" else None,
        "best_step": end.best_step,
        "best_loss": end.best_loss,
        "decisions": [asdict(decision) for decision in decisions],
    }


def _metrics(events: Sequence[Event], end: EndEvent) -> dict[str, Any]:
    steps = [event for event in events if isinstance(event, StepEvent)]
    return {
        "steps": end.step,
        "stop_reason": end.reason,
        "best_step": end.best_step,
        "validation_loss": end.best_loss,
        "train_loss": steps[-1].loss if steps else None,
        "tokens": sum(event.tokens for event in steps),
        "supervised_tokens": sum(event.supervised_tokens for event in steps),
        "packs_without_targets": sum(event.packs_without_targets for event in steps),
    }
