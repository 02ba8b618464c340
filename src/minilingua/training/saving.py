"""Writes states for resuming while training goes on.

    training   ── step ── copy to CPU ── step ── step ── .. ── step ── take note ── step ──
                              └► thread of its own: write ─► check ─► marker ┘

Training waits for the copy only. The ranks' threads meet in a process group of their own, so that
their exchanges never mix with those of the training. A state counts when its marker is there; a
process that dies before leaves a directory that is skipped and later removed.
"""

import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import distributed
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save

from minilingua.core.errors import CheckpointError
from minilingua.core.files import sha256_file, tree_files, write_json
from minilingua.megatron_model.megatron import (
    CheckpointingConfig,
    TorchCommonSaveStrategy,
    parallel_state,
    save_config,
    save_preprocess,
    torch_strategy,
)
from minilingua.training.checkpoint import (
    MARKER,
    Progress,
    checkpoint_path,
    reason_of,
    sharded_state,
)
from minilingua.training.engine import Engine
from minilingua.training.optimizer_state import read_state, read_step

_BACKEND, _VERSION = "torch_dist", 1
"""Megatron's name of the format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A state that counts."""

    step: int
    blocked_s: float
    """Seconds that training waited for it."""
    seconds: float
    """From the beginning to the marker."""
    bytes: int


@dataclass(slots=True, kw_only=True)
class Saver:
    """Saves states of one run, one at a time. All ranks make the same calls together."""

    directory: Path
    run_key: str
    _group: Any = None
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _writing: Future[Saved] | None = None

    def __post_init__(self) -> None:
        # On a GPU also for one rank: NCCL would queue the thread's exchanges behind the training's.
        if distributed.get_world_size() > 1 or distributed.get_backend() != "gloo":
            self._group = distributed.new_group(backend="gloo")

    @property
    def in_flight(self) -> bool:
        """A state has been begun and nobody has taken note of its end."""
        return self._writing is not None

    def begin(self, engine: Engine, progress: Progress) -> None:
        """Copies a state and begins to write it; a state that is there already is left alone.

        Raises:
            CheckpointError: it cannot be written. Earlier states are untouched.
        """
        assert not self.in_flight  # the caller has taken note of the one before
        began = time.perf_counter()
        path = checkpoint_path(self.directory, progress.step)
        if (path / MARKER).exists():
            self._writing = Future()
            self._writing.set_result(
                Saved(step=progress.step, blocked_s=0.0, seconds=0.0, bytes=_bytes(path))
            )
            return
        try:
            if distributed.get_rank() == 0:
                shutil.rmtree(path, ignore_errors=True)
                path.mkdir(parents=True)
            distributed.barrier()
        except OSError as error:
            raise self._told(path, error) from error
        state, common = save_preprocess(_state_of(engine, progress))
        plain, *_ = torch_strategy._replace_state_dict_keys_with_sharded_keys(
            state,
            True,  # noqa: FBT003 - its signature: of replicas, the first one writes
        )
        part = torch_strategy.mcore_to_pyt_state_dict(plain, False)  # noqa: FBT003 - as above
        blocked = time.perf_counter() - began
        self._writing = self._thread.submit(
            self._write, path, progress.step, part, common, began, blocked
        )

    def poll(self) -> Saved | None:
        """Returns the state that was begun, once, when it counts; None while it is written.

        Ranks may learn of it at different times.

        Raises:
            CheckpointError: it could not be written.
        """
        return self.wait() if self._writing is not None and self._writing.done() else None

    def wait(self) -> Saved | None:
        """Waits for the state that was begun and returns it; None if there is none.

        Raises:
            CheckpointError: it could not be written.
        """
        writing, self._writing = self._writing, None
        return None if writing is None else writing.result()

    def abandon(self) -> None:
        """Waits for the state that was begun, whatever becomes of it: training has failed."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.exception()

    def _write(
        self,
        path: Path,
        step: int,
        part: Any,
        common: dict[str, Any],
        began: float,
        blocked: float,
    ) -> Saved:
        """What the thread does; an error waits for the one who asks."""
        try:
            TorchCommonSaveStrategy("torch", _VERSION).save_common(common, path)
            save(
                part,
                storage_writer=FileSystemWriter(path, thread_count=1),
                planner=torch_strategy.MCoreSavePlanner(
                    dedup_replicated_tensors=False, flatten_state_dict=False
                ),
                process_group=self._group,
            )
            if distributed.get_rank() == 0:
                save_config(CheckpointingConfig(_BACKEND, _VERSION), path)
                _mark(path, self.run_key, step)
            if self._group is not None:
                distributed.barrier(group=self._group)
        except (OSError, CheckpointException) as error:
            raise self._told(path, error) from error
        seconds = time.perf_counter() - began
        return Saved(step=step, blocked_s=blocked, seconds=seconds, bytes=_bytes(path))

    def _told(self, path: Path, error: OSError | CheckpointException) -> CheckpointError:
        return CheckpointError(f"{path}: {_why_not_written(error, self.directory)}")


def save_checkpoint(engine: Engine, progress: Progress, directory: Path, run_key: str) -> int:
    """Saves a state and waits for it; returns its bytes. All ranks call it together.

    Raises:
        CheckpointError: it cannot be written. Earlier states are untouched.
    """
    saver = Saver(directory=directory, run_key=run_key)
    saver.begin(engine, progress)
    saved = saver.wait()
    assert saved is not None  # it was begun
    return saved.bytes


def _state_of(engine: Engine, progress: Progress) -> dict[str, Any]:
    first = parallel_state.get_data_parallel_rank(with_context_parallel=True) == 0
    return {
        **sharded_state(engine, read_state(engine.optimizer, writes=first)),
        "optimizer_steps": read_step(engine.optimizer),
        "scheduler": engine.scheduler.state_dict(),
        "progress": {
            "step": progress.step,
            "history": [asdict(item) for item in progress.history],
        },
    }


def _mark(path: Path, run_key: str, step: int) -> None:
    """Checks a fresh save and writes its marker."""
    index = FileSystemReader(path).read_metadata()
    for part in (index.storage_data or {}).values():
        if (path / part.relative_path).stat().st_size < part.offset + part.length:
            raise CheckpointError(f"{path / part.relative_path}: was not written completely")
    files = {
        file.relative_to(path).as_posix(): {
            "bytes": file.stat().st_size,
            "sha256": sha256_file(file),
        }
        for file in tree_files(path)
    }
    write_json(path / MARKER, {"run_key": run_key, "step": step, "files": files})


def _why_not_written(error: OSError | CheckpointException, directory: Path) -> str:
    """Returns one line; torch's archive writer hides what the system said of a full disk."""
    reason = reason_of(error)
    if "inline_container" not in reason:
        return f"cannot be written: {reason}"
    free = shutil.disk_usage(directory).free
    return f"cannot be written: the disk took only a part of it, {free:,} bytes are left"


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in tree_files(path))
