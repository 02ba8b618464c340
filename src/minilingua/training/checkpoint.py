"""States for resuming: what is in them, which of them count, and how one is taken up.

Megatron's distributed format, with a marker that makes a state count (``saving.py`` writes it):

    checkpoints/step_00000050/      __0_0.distcp, .metadata, common.pt, metadata.json
    checkpoints/step_00000050/complete.json     written last: run key, step, digest of every file

A directory without its marker is a save that was interrupted: it is skipped and later removed.
Not in a state: random numbers (``Engine`` derives them from seed and step) and data (a step number
says where the plan stands).
"""

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException

from minilingua.core.errors import CheckpointError
from minilingua.core.files import sha256_file
from minilingua.megatron_model.megatron import (
    CheckpointingException,
    dist_checkpointing,
    make_sharded_optimizer_tensor,
)
from minilingua.training.early_stopping import Evaluated
from minilingua.training.engine import Engine
from minilingua.training.optimizer_state import (
    MOMENTS,
    WEIGHT,
    write_state,
)

MARKER = "complete.json"
_NAME = re.compile(r"step_(\d{8})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a training is."""

    step: int
    """Optimizer steps so far."""
    history: tuple[Evaluated, ...]
    """Evaluations so far."""


def complete_checkpoints(directory: Path) -> list[int]:
    """Returns the steps of the states that have their marker, oldest first."""
    return [step for step, path in _directories(directory) if (path / MARKER).exists()]


def checkpoint_path(directory: Path, step: int) -> Path:
    """Returns where the state of a step is kept."""
    return directory / f"step_{step:08d}"


def latest_checkpoint(directory: Path, run_key: str) -> Path | None:
    """Returns the newest complete state after checking its files, or None if there is none.

    Raises:
        CheckpointError: a file of it is missing or changed, or it belongs to another run.
    """
    steps = complete_checkpoints(directory)
    if not steps:
        return None
    path = checkpoint_path(directory, steps[-1])
    remedy = f"delete {path} to go on from the one before"
    try:
        marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
        owner, files = marker["run_key"], dict(marker["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / MARKER}: cannot be read; {remedy}") from error
    if owner != run_key:
        raise CheckpointError(f"{path} belongs to run {owner}, this is run {run_key}; {remedy}")
    for name, expected in files.items():
        file = path / name
        if not file.exists():
            raise CheckpointError(f"{file} is missing; {remedy}")
        if file.stat().st_size != expected["bytes"]:
            raise CheckpointError(
                f"{file} has {file.stat().st_size} bytes instead of {expected['bytes']}: it is "
                f"truncated; {remedy}"
            )
        if sha256_file(file) != expected["sha256"]:
            raise CheckpointError(f"{file} has changed since it was saved; {remedy}")
    return path


def load_checkpoint(engine: Engine, path: Path) -> Progress:
    """Restores model, optimizer and schedule, and returns how far they are.

    Raises:
        CheckpointError: the state does not fit this model.
    """
    parameters = dict(engine.model.named_parameters())
    empty = {
        parameter: {name: torch.zeros(parameter.shape) for name in (WEIGHT, *MOMENTS)}
        for parameter in parameters.values()
    }
    try:
        loaded = dist_checkpointing.load(sharded_state(engine, empty), str(path))
        states = {
            parameter: {kind: loaded[kind][name] for kind in (WEIGHT, *MOMENTS)}
            for name, parameter in parameters.items()
        }
        write_state(engine.optimizer, states, loaded["optimizer_steps"])
        engine.scheduler.load_state_dict(loaded["scheduler"])
        progress = loaded["progress"]
    except (
        RuntimeError,
        KeyError,
        ValueError,
        CheckpointingException,
        CheckpointException,
    ) as error:
        raise CheckpointError(f"{path}: does not fit this model: {reason_of(error)}") from error
    return Progress(
        step=progress["step"],
        history=tuple(Evaluated(**item) for item in progress["history"]),
    )


def sharded_state(
    engine: Engine, states: Mapping[nn.Parameter, Mapping[str, Tensor]]
) -> dict[str, Any]:
    """Returns fp32 weights and moments with where each lies in the whole model.

    This is the same for every layout and optimizer, so that any layout reads what another wrote.
    """
    parameters = dict(engine.model.named_parameters())
    return {
        kind: {
            name: make_sharded_optimizer_tensor(place, states[parameters[name]][kind], kind)
            for name, place in engine.places.items()
        }
        for kind in (WEIGHT, *MOMENTS)
    }


def prune_checkpoints(directory: Path, keep: int) -> None:
    """Deletes interrupted saves and all complete states but the ``keep`` newest."""
    kept: Sequence[int] = complete_checkpoints(directory)[-keep:]
    for step, path in _directories(directory):
        if step not in kept:
            (path / MARKER).unlink(missing_ok=True)  # first: half a state must not count
            shutil.rmtree(path)


def _directories(directory: Path) -> list[tuple[int, Path]]:
    if not directory.exists():
        return []
    found = ((_NAME.fullmatch(path.name), path) for path in sorted(directory.iterdir()))
    return [(int(match[1]), path) for match, path in found if match]


def reason_of(error: BaseException) -> str:
    """Returns one line; torch wraps what went wrong on a rank in an exception of its own."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0]
