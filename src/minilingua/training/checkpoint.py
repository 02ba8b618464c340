"""States for resuming, in Megatron's distributed format, with a marker that makes each one count.

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
from torch import Tensor, distributed, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save

from minilingua.core.errors import CheckpointError
from minilingua.core.files import sha256_file, tree_files, write_json
from minilingua.megatron_model.megatron import (
    CheckpointingException,
    dist_checkpointing,
    make_sharded_optimizer_tensor,
    torch_strategy,
)
from minilingua.training.early_stopping import Evaluated
from minilingua.training.engine import Engine
from minilingua.training.optimizer_state import (
    MOMENTS,
    WEIGHT,
    read_state,
    read_step,
    write_state,
)

_MARKER = "complete.json"
_NAME = re.compile(r"step_(\d{8})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a training is."""

    step: int
    """Optimizer steps so far."""
    history: tuple[Evaluated, ...]
    """Evaluations so far."""


class InProcessSave(torch_strategy.TorchDistSaveShardedStrategy):  # type: ignore[misc]  # Megatron is untyped
    """Megatron's format, written by this process.

    Megatron's own strategy starts a manager and a writer process for every save, which takes
    seconds for a small model and copies the address space of this one.
    """

    def __init__(self) -> None:
        super().__init__("torch_dist", 1)

    def save(self, sharded_state_dict: Any, checkpoint_dir: str) -> None:
        """Writes this rank's part."""
        state, *_ = torch_strategy._replace_state_dict_keys_with_sharded_keys(
            sharded_state_dict, self.keep_only_main_replica
        )
        save(
            torch_strategy.mcore_to_pyt_state_dict(state, False),  # noqa: FBT003 - its signature
            storage_writer=FileSystemWriter(checkpoint_dir, thread_count=1),
            planner=torch_strategy.MCoreSavePlanner(
                dedup_replicated_tensors=False, flatten_state_dict=False
            ),
        )


def save_checkpoint(engine: Engine, progress: Progress, directory: Path, run_key: str) -> int:
    """Saves a state; returns its bytes. All ranks call it together.

    Raises:
        CheckpointError: it cannot be written. Earlier states are untouched.
    """
    path = directory / f"step_{progress.step:08d}"
    if (path / _MARKER).exists():
        return _bytes(path)
    try:
        if distributed.get_rank() == 0:
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
        distributed.barrier()
        state = _sharded(engine, read_state(engine.optimizer))
        state["optimizer_steps"] = read_step(engine.optimizer)
        state["scheduler"] = engine.scheduler.state_dict()
        state["progress"] = {
            "step": progress.step,
            "history": [(item.step, item.loss) for item in progress.history],
        }
        dist_checkpointing.save(state, str(path), sharded_strategy=InProcessSave())
        if distributed.get_rank() == 0:
            _check_written(path)
            files = {
                file.relative_to(path).as_posix(): {
                    "bytes": file.stat().st_size,
                    "sha256": sha256_file(file),
                }
                for file in tree_files(path)
            }
            marker = {"run_key": run_key, "step": progress.step, "files": files}
            write_json(path / _MARKER, marker)
        distributed.barrier()
    except (OSError, CheckpointException) as error:
        raise CheckpointError(f"{path}: {_why_not_written(error, directory)}") from error
    return _bytes(path)


def complete_checkpoints(directory: Path) -> list[int]:
    """Returns the steps of the states that have their marker, oldest first."""
    return [step for step, path in _directories(directory) if (path / _MARKER).exists()]


def latest_checkpoint(directory: Path, run_key: str) -> Path | None:
    """Returns the newest complete state after checking its files, or None if there is none.

    Raises:
        CheckpointError: a file of it is missing or changed, or it belongs to another run.
    """
    steps = complete_checkpoints(directory)
    if not steps:
        return None
    path = directory / f"step_{steps[-1]:08d}"
    remedy = f"delete {path} to go on from the one before"
    try:
        marker = json.loads((path / _MARKER).read_text(encoding="utf-8"))
        owner, files = marker["run_key"], dict(marker["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / _MARKER}: cannot be read; {remedy}") from error
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
        loaded = dist_checkpointing.load(_sharded(engine, empty), str(path))
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
        raise CheckpointError(f"{path}: does not fit this model: {_reason(error)}") from error
    return Progress(
        step=progress["step"],
        history=tuple(Evaluated(step=step, loss=loss) for step, loss in progress["history"]),
    )


def prune_checkpoints(directory: Path, keep: int) -> None:
    """Deletes interrupted saves and all complete states but the ``keep`` newest."""
    kept: Sequence[int] = complete_checkpoints(directory)[-keep:]
    for step, path in _directories(directory):
        if step not in kept:
            (path / _MARKER).unlink(missing_ok=True)  # first: half a state must not count
            shutil.rmtree(path)


def _sharded(engine: Engine, states: Mapping[nn.Parameter, Mapping[str, Tensor]]) -> dict[str, Any]:
    """Returns fp32 weights and moments with where each lies in the whole model.

    This is the same for every layout and optimizer, so that any layout reads what another wrote.
    """
    names = {id(parameter): name for name, parameter in engine.model.named_parameters()}
    sharded: dict[str, Any] = {kind: {} for kind in (WEIGHT, *MOMENTS)}
    for place in engine.model.sharded_state_dict().values():
        name = names.get(id(place.data))
        if name is None:  # no parameter
            continue
        state = states[place.data]
        for kind, parts in sharded.items():
            parts[name] = make_sharded_optimizer_tensor(place, state[kind], kind)
    return sharded


def _check_written(path: Path) -> None:
    """Compares the files of a fresh save with what its index says that they hold."""
    index = FileSystemReader(path).read_metadata()
    for part in (index.storage_data or {}).values():
        if (path / part.relative_path).stat().st_size < part.offset + part.length:
            raise CheckpointError(f"{path / part.relative_path}: was not written completely")


def _directories(directory: Path) -> list[tuple[int, Path]]:
    if not directory.exists():
        return []
    found = ((_NAME.fullmatch(path.name), path) for path in sorted(directory.iterdir()))
    return [(int(match[1]), path) for match, path in found if match]


def _reason(error: BaseException) -> str:
    """Returns one line; torch wraps what went wrong on a rank in an exception of its own."""
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).splitlines()[0]


def _why_not_written(error: OSError | CheckpointException, directory: Path) -> str:
    """Returns one line; torch's archive writer hides what the system said of a full disk."""
    reason = _reason(error)
    if "inline_container" not in reason:
        return f"cannot be written: {reason}"
    free = shutil.disk_usage(directory).free
    return f"cannot be written: the disk took only a part of it, {free:,} bytes are left"


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in tree_files(path))
