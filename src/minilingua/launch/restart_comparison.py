"""Compares an uninterrupted training with one that was killed and taken up again."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minilingua.core.errors import CheckpointError
from minilingua.core.events import EvaluationEvent, Event, StepEvent, compact, read_events
from minilingua.core.files import sha256_file

MODEL = Path("models/megatron/model.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What a finished training left in its directory."""

    root: Path

    @property
    def run(self) -> Path:
        """The run directory."""
        return self.root / "runs" / (self.root / "runs/current").read_text("utf-8").strip()

    def events(self) -> list[Event]:
        """Returns the events, replayed steps reconciled."""
        return compact(read_events(self.run / "events.jsonl"))

    def last_state(self) -> tuple[int, dict[str, str]]:
        """Returns the step of the newest state, and file ─► SHA-256 of weights and moments."""
        marker = max(self.run.glob("checkpoints/*/complete.json"), default=None)
        if marker is None:
            raise CheckpointError(f"{self.run}: has no complete state")
        state = json.loads(marker.read_text(encoding="utf-8"))
        files = {
            name: file["sha256"]
            for name, file in sorted(state["files"].items())
            if name.endswith(".distcp")
        }
        return int(state["step"]), files

    def model_digest(self) -> str:
        """Returns the SHA-256 of the published weights."""
        return sha256_file(self.root / MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was compared, and the first thing that differs."""

    steps: int
    """Steps whose sample ids, loss, gradient norm and learning rate were compared."""
    evaluations: int
    state_step: int
    """Step of the state whose weights and moments were compared."""
    state_sha256: dict[str, str]
    """Of the uninterrupted training, by file."""
    model_sha256: str
    """Of the uninterrupted training's published weights."""
    first_difference: str | None
    """One line; None: everything is equal."""


def compare(through: Training, restarted: Training) -> Comparison:
    """Compares two trainings of the same steps.

    Raises:
        CheckpointError: one of them has no complete state.
    """
    expected, found = through.events(), restarted.events()
    step, state = through.last_state()
    return Comparison(
        steps=sum(isinstance(event, StepEvent) for event in expected),
        evaluations=sum(isinstance(event, EvaluationEvent) for event in expected),
        state_step=step,
        state_sha256=state,
        model_sha256=through.model_digest(),
        first_difference=event_difference(expected, found) or _file_difference(through, restarted),
    )


def event_difference(expected: Sequence[Event], found: Sequence[Event]) -> str | None:
    """Returns where two records first differ, as a line, or None."""
    for ours, theirs in zip(expected, found, strict=False):
        if ours == theirs:
            continue
        if (ours.kind, ours.step) != (theirs.kind, theirs.step):
            return (
                f"{ours.kind} {ours.step} of the uninterrupted training faces {theirs.kind} "
                f"{theirs.step} of the restarted one"
            )
        return f"{ours.kind} {ours.step}: {_field_difference(asdict(ours), asdict(theirs))}"
    if len(expected) != len(found):
        return f"{len(expected)} records uninterrupted, {len(found)} restarted"
    return None


def _field_difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    name = next(name for name, value in ours.items() if theirs[name] != value)
    return f"{name} is {ours[name]!r} uninterrupted, {theirs[name]!r} restarted"


def _file_difference(through: Training, restarted: Training) -> str | None:
    step, state = through.last_state()
    other_step, other = restarted.last_state()
    if step != other_step:
        return f"the last state is of step {step} uninterrupted, {other_step} restarted"
    for name in sorted(state.keys() | other.keys()):
        if state.get(name) != other.get(name):
            return f"the state of step {step} differs in {name}: weights or moments are not equal"
    if through.model_digest() != restarted.model_digest():
        return "the published weights differ"
    return None
