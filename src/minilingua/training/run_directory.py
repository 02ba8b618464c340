"""``runs/<run key>/``: all that a training writes while it runs, and the one process that may.

run.json            run key, resolved parameters, digests of the inputs, vocabulary, tokenizer
events.jsonl        what is deterministic (core.events); replayed steps are appended again
telemetry.jsonl     times, hosts, throughput
checkpoints/        states for resuming (checkpoint.py)
best/               weights of the best evaluations, one file a step
run.lock            held while a process trains or publishes; the system frees it when it dies
"""

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from minilingua.core.errors import RunBusyError, output_error
from minilingua.core.events import (
    EndEvent,
    Event,
    TelemetryWriter,
    append_event,
    compact,
    read_events,
    read_telemetry,
)
from minilingua.core.files import write_bytes, write_json, write_text
from minilingua.core.runs import CURRENT, RUNS

if TYPE_CHECKING:
    from torch import Tensor

_WAIT_S = 30.0
_QUIET_S = 600.0
"""A process that records nothing for so long is given up, as a rank that hangs is."""
_LOOK_S = 0.05
_BEST = re.compile(r"step_(\d{8})\.safetensors")


@dataclass(slots=True, kw_only=True)
class RunDirectory:
    """One run directory. Make changes only while its lock is held."""

    path: Path
    telemetry: TelemetryWriter = field(init=False)

    def __post_init__(self) -> None:
        starts = (
            record.get("attempt", 0)
            for record in read_telemetry(self._telemetry_path)
            if record.get("kind") == "start"
        )
        attempt = 1 + max(starts, default=0)
        self.telemetry = TelemetryWriter(path=self._telemetry_path, attempt=attempt)

    @property
    def _telemetry_path(self) -> Path:
        return self.path / "telemetry.jsonl"

    @property
    def key(self) -> str:
        """The run key."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """Directory of the states for resuming."""
        return self.path / "checkpoints"

    def describe(self, about: dict[str, Any]) -> None:
        """Writes run.json, the first time, and names this directory in ``runs/current``."""
        if not (self.path / "run.json").exists():
            write_json(self.path / "run.json", {"run_key": self.key, **about})
        self.name_as_current()

    def name_as_current(self) -> None:
        """Tells followers, through ``runs/current``, which training is at work."""
        write_text(self.path.parent / CURRENT.name, self.key + "\n")

    def add(self, event: Event) -> None:
        """Appends an event."""
        append_event(self.path / "events.jsonl", event)

    def events(self) -> list[Event]:
        """Returns the events so far, replayed steps reconciled."""
        path = self.path / "events.jsonl"
        return compact(read_events(path)) if path.exists() else []

    def finished(self) -> EndEvent | None:
        """Returns how the training ended, if it did and its weights are here."""
        events = self.events()
        end = next((event for event in reversed(events) if isinstance(event, EndEvent)), None)
        return end if end is not None and self.best_path(end.best_step).exists() else None

    def best_path(self, step: int) -> Path:
        """Returns where the weights of an evaluated step are kept."""
        return self.path / "best" / f"step_{step:08d}.safetensors"

    def save_best(self, step: int, tensors: "dict[str, Tensor]") -> None:
        """Keeps the weights of a step, in one piece or not at all.

        Raises:
            OutputError: they cannot be written.
        """
        from safetensors.torch import save

        write_bytes(self.best_path(step), save(dict(sorted(tensors.items()))))

    def prune_best(self, keep: Iterable[int]) -> None:
        """Deletes the kept weights of all other steps."""
        kept = set(keep)
        for file in sorted((self.path / "best").glob("*.safetensors")):
            match = _BEST.fullmatch(file.name)
            if match and int(match[1]) not in kept:
                file.unlink()

    def clear(self) -> None:
        """Forgets the training; the lock stays."""
        for entry in sorted(self.path.iterdir()):
            if entry.name.endswith(".lock"):
                continue
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        self.__post_init__()

    def await_holder(self, stop: Callable[[], bool], quiet_s: float = _QUIET_S) -> None:
        """Waits while another process holds the directory and works, unless a stop is asked for."""
        if not (self.path / "run.lock").exists():
            return
        seen, until = self._recorded(), time.monotonic() + quiet_s
        is_told = False
        while not self._is_free() and not stop() and time.monotonic() < until:
            if not is_told:
                _say(f"{self.path} is held by {self._holder()}; waiting as long as that works")
                is_told = True
            if (now := self._recorded()) != seen:
                seen, until = now, time.monotonic() + quiet_s
            time.sleep(_LOOK_S)

    @contextmanager
    def lock(self, wait_s: float = _WAIT_S) -> Iterator[None]:
        """Holds the directory for the block.

        Raises:
            RunBusyError: another process still holds it after ``wait_s`` seconds.
            OutputError: the directory cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / "run.lock")
            if not _try(lock):
                _say(f"{self.path} is held by {self._holder()}; waiting up to {wait_s:.0f} s")
                lock.acquire(timeout=wait_s)
        except Timeout as error:
            raise RunBusyError(
                f"{self.path} is held by {self._holder()}; wait for it or end it"
            ) from error
        except OSError as error:
            raise output_error(error, self.path) or error from error
        try:
            self._remove_unfinished()
            self.__post_init__()  # whoever held it before was an attempt too
            yield
        finally:
            lock.release()

    def _is_free(self) -> bool:
        lock = FileLock(self.path / "run.lock")
        try:
            is_free = _try(lock)
        except OSError:
            return True  # taking it will tell why it cannot be had
        lock.release()
        return is_free

    def _recorded(self) -> int:
        """Returns how much the holder has recorded, in bytes."""
        return self._telemetry_path.stat().st_size if self._telemetry_path.exists() else 0

    def _remove_unfinished(self) -> None:
        """Removes what a process that was killed had begun to write beside its place."""
        for file in (*self.path.glob(".*.tmp"), *self.best_path(0).parent.glob(".*.tmp")):
            file.unlink(missing_ok=True)

    def _holder(self) -> str:
        starts = [r for r in read_telemetry(self._telemetry_path) if r.get("kind") == "start"]
        if not starts:
            return "another process"
        return f"process {starts[-1].get('pid')} on {starts[-1].get('host')}"


def open_run(key: str, runs: Path = RUNS) -> RunDirectory:
    """Returns the run directory of a key, which need not exist yet."""
    return RunDirectory(path=runs / key)


def _try(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True


def _say(message: str) -> None:
    os.write(2, f"train: {message}\n".encode())
