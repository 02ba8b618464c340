"""The deterministic record of a training: one JSON object a line in ``events.jsonl``.

    step ── step ── .. ── evaluation ── decision ── checkpoint ── step ── .. ── end

Times, hosts and throughput go to ``telemetry.jsonl`` (``TelemetryWriter``), so that two runs of
one configuration write the same events, byte for byte. A resumed run appends again what it
replays; ``compact`` keeps the last record of each kind and step.
"""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from minilingua.core.errors import DataError
from minilingua.core.files import canonical_json, dump_record, require


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEvent:
    """One optimizer step. Steps count from 1; step s trains on the plan's step s - 1."""

    step: int
    loss: float
    """Mean over the supervised tokens of the global batch, nats."""
    learning_rate: float
    grad_norm: float
    tokens: int
    """Tokens of the global batch, prompts included."""
    supervised_tokens: int
    conversations: int
    sample_digest: str
    """``content_id`` over the conversation ids of the step, in their order."""
    packs_without_targets: int = 0
    """Packs that have no supervised token: they cost time and teach nothing."""
    kind: Literal["step"] = "step"


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageLoss:
    """The validation loss of one language."""

    loss: float
    """Mean over its supervised tokens, nats."""
    supervised_tokens: int
    standard_error: float | None = None
    """Of ``loss``, conversations being what is drawn; None: fewer than two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationEvent:
    """The validation losses after ``step`` optimizer steps (0: before the first)."""

    step: int
    loss: float
    """Mean over all supervised validation tokens, nats."""
    supervised_tokens: int
    languages: dict[str, LanguageLoss]
    standard_error: float | None = None
    """Of ``loss``, conversations being what is drawn; None: fewer than two."""
    kind: Literal["evaluation"] = "evaluation"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionEvent:
    """What early stopping concluded from the evaluation after ``step``, and by which rule."""

    step: int
    loss: float
    best_step: int
    best_loss: float
    evaluations_without_improvement: int
    patience: int
    min_delta: float
    verdict: Literal["improved", "warmup", "waiting", "stop", "disabled"]
    reason: str
    """The verdict in words."""
    margin: float | None = None
    """What the loss had to decrease by, nats: ``min_delta`` and the allowance for chance."""
    worse_languages: dict[str, float] = field(default_factory=dict)
    """Language ─► how far its loss is above its own lowest, where that exceeds the bound."""
    enabled: bool = True
    warmup_steps: int = 0
    standard_errors: float = 0.0
    language_bound: float | None = None
    language_stop: bool = False
    kind: Literal["decision"] = "decision"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpikeEvent:
    """The loss of a step was far above those before."""

    step: int
    loss: float
    median: float
    """Of the losses before."""
    in_a_row: int
    """Spikes up to this step without one between that was none; counted up to patience."""
    kind: Literal["spike"] = "spike"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEvent:
    """The training is over."""

    step: int
    """Last step trained."""
    reason: Literal["early_stop", "plan_complete"]
    best_step: int
    best_loss: float
    kind: Literal["end"] = "end"


Event = StepEvent | SpikeEvent | EvaluationEvent | DecisionEvent | EndEvent
_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    "step": TypeAdapter(StepEvent),
    "spike": TypeAdapter(SpikeEvent),
    "evaluation": TypeAdapter(EvaluationEvent),
    "decision": TypeAdapter(DecisionEvent),
    "end": TypeAdapter(EndEvent),
}
_ORDER = {"step": 0, "spike": 1, "evaluation": 2, "decision": 3, "end": 4}


def append_event(path: Path, event: Event) -> None:
    """Appends one event; a reader sees the whole line or an unfinished last line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _append_line(path, dump_record(event))


def read_events(path: Path) -> Iterator[Event]:
    """Yields the events of a file; an unfinished last line (a killed writer) is left out.

    Raises:
        MissingInputError: there is no such file.
        DataError: a finished line is not an event.
    """
    require(path, made_by="minilingua train")
    text = path.read_bytes()
    for number, line in enumerate(text.split(b"\n")[:-1], start=1):
        try:
            kind = json.loads(line).get("kind")
            yield _ADAPTERS[kind].validate_json(line, strict=True)
        except (ValueError, KeyError, AttributeError, ValidationError) as error:
            raise DataError(f"{path}:{number}: not an event: {line[:80]!r}") from error


def compact(events: Iterable[Event], last_step: int | None = None) -> list[Event]:
    """Returns the last event of each kind and step, in the order of an uninterrupted run.

    A step that is trained again takes back what was recorded after it: where a replay differs (on
    other ranks, or by profile ``fast``), a spike or an end of the first attempt may never recur.

    Args:
        events: all that was written, replayed steps included.
        last_step: drops what lies after it (a step that was trained but not saved).
    """
    latest: dict[tuple[int, int], Event] = {}
    newest = (0, 0)
    for event in events:
        place = event.step, _ORDER[event.kind]
        if event.kind == "step" and place <= newest:
            latest = {before: kept for before, kept in latest.items() if before < place}
            newest = place
        latest[place] = event
        newest = max(newest, place)
    return [latest[key] for key in sorted(latest) if last_step is None or key[0] <= last_step]


@dataclass(slots=True, kw_only=True)
class TelemetryWriter:
    """Appends what depends on the machine: times, throughput, memory, hosts, attempts."""

    path: Path
    attempt: int
    """1 for the first process that trained in this run directory, then 2, .."""
    started: float = field(default_factory=time.time)

    def write(self, kind: str, **values: float | int | str | None) -> None:
        """Appends one record with the time (Unix seconds) and attempt added."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        record = {"kind": kind, "attempt": self.attempt, "time": time.time(), **values}
        _append_line(self.path, canonical_json(record))


def read_telemetry(path: Path) -> Iterator[dict[str, Any]]:
    """Yields telemetry records; unfinished or damaged lines are left out."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n")[:-1]:
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _append_line(path: Path, line: str) -> None:
    """Appends a line, first ending a half-written one that a killed writer left."""
    with path.open("ab+") as stream:
        if stream.tell() > 0:
            stream.seek(-1, 2)
            if stream.read(1) != b"\n":
                _cut_unfinished_line(path)
        stream.write(line.encode() + b"\n")
        stream.flush()


def _cut_unfinished_line(path: Path) -> None:
    data = path.read_bytes()
    with path.open("rb+") as stream:
        stream.truncate(data.rfind(b"\n") + 1)
