"""Trained weights by Megatron name, one tensor at a time, and what is known of them.

    models/megatron/             the selected step: model.safetensors, model.json
    runs/<key>/best/             an evaluated step: step_N.safetensors
    runs/<key>/checkpoints/      a state for resuming, in shards of whatever parallel layout

Nothing is read before it is asked for, so that a model need not fit into memory twice.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from minilingua.core.errors import CheckpointError, MissingInputError
from minilingua.core.events import EvaluationEvent, compact, read_events
from minilingua.core.files import read_json, require, sha256_file
from minilingua.core.runs import MADE_BY
from minilingua.params import ModelParams


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """``model.json``; keys beyond these are left alone."""

    model: ModelParams
    vocab_size: int
    """Rows of the embedding."""
    selected_step: int
    """Optimizer step of the weights."""
    validation_loss: float | None
    """Mean over the supervised validation tokens after that step, nats; None if not evaluated."""
    tokenizer_digest: str
    """SHA-256 of the tokenizer that the training tokens were made with."""


class SafetensorsFile(Mapping[str, Tensor]):
    """Tensors of one file, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        """Opens the file.

        Raises:
            CheckpointError: it is truncated or no safetensors file.
        """
        try:
            file: Any = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:  # OSError: a directory, no permission
            raise CheckpointError(f"{path}: {error}; `dvc checkout` restores it") from error
        self._file = file
        self._names = tuple(file.keys())

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def read_trained(path: Path) -> TrainedModel:
    """Reads ``model.json``.

    Raises:
        MissingInputError: it is missing.
        CheckpointError: a key is missing or of another type.
    """
    return _trained(require(path / "model.json", MADE_BY))


def open_trained(path: Path) -> SafetensorsFile:
    """Opens the weights of the selected step.

    Raises:
        MissingInputError: ``model.safetensors`` is missing.
        CheckpointError: it is truncated or no safetensors file.
    """
    return SafetensorsFile(require(path / "model.safetensors", MADE_BY))


def read_run(run: Path, step: int) -> TrainedModel:
    """Returns what is known of a step of a run.

    Raises:
        CheckpointError: run.json is damaged.
    """
    about = read_json(run / "run.json", MADE_BY)
    losses = {}
    if (run / "events.jsonl").exists():
        events = compact(read_events(run / "events.jsonl"))
        losses = {event.step: event.loss for event in events if isinstance(event, EvaluationEvent)}
    about |= {
        "model": (about.get("params") or {}).get("model"),
        "selected_step": step,
        "validation_loss": losses.get(step),
    }
    return _trained(run / "run.json", about)


def open_step(run: Path, step: int, trained: TrainedModel) -> Mapping[str, Tensor]:
    """Opens the weights of a step: of an evaluation where they were kept, or of a state.

    Raises:
        MissingInputError: the run has no such step; the message names those that it has.
        CheckpointError: the weights are damaged.
    """
    best = run / "best" / f"step_{step:08d}.safetensors"
    if best.exists():
        return SafetensorsFile(best)
    state = run / "checkpoints" / f"step_{step:08d}"
    if not (state / "complete.json").exists():
        kept = {int(path.stem[5:]) for path in (run / "best").glob("step_*.safetensors")}
        kept |= {int(path.parent.name[5:]) for path in run.glob("checkpoints/step_*/complete.json")}
        raise MissingInputError(
            f"{run} has no weights of step {step}; it has those of "
            f"{', '.join(map(str, sorted(kept))) or 'no step'}"
        )
    _check_state(state)
    from minilingua.megatron_model.sharded_tensors import ShardedTensors

    return ShardedTensors(state, trained.model, trained.vocab_size)


def _check_state(state: Path) -> None:
    """Compares a state's files with its marker, which was written after all of them."""
    try:
        files = dict(read_json(state / "complete.json")["files"])
        damaged = [
            name
            for name, expected in files.items()
            if not (state / name).exists() or sha256_file(state / name) != expected["sha256"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{state / 'complete.json'}: is no marker of a state") from error
    if damaged:
        raise CheckpointError(f"{state / damaged[0]} is missing or has changed since it was saved")


def _trained(file: Path, about: dict[str, Any] | None = None) -> TrainedModel:
    text = file.read_bytes() if about is None else json.dumps(about)
    adapter: TypeAdapter[TrainedModel] = TypeAdapter(TrainedModel)
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        raise CheckpointError(f"{file}: {key}: {first['msg']}") from error
