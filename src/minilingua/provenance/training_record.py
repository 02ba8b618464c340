"""One training as the disk tells it: its run directory, or ``reports/train/`` where that is gone.

runs/current            run key of the training that started last
runs/<run key>/         run.json, events.jsonl, telemetry.jsonl
reports/train/          events.jsonl and plots of the published training (a DVC output)
"""

import platform
import time
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from minilingua.core.errors import DataError
from minilingua.core.events import (
    DecisionEvent,
    EndEvent,
    EvaluationEvent,
    Event,
    compact,
    read_events,
    read_telemetry,
)
from minilingua.core.files import dump_record, read_json, require, sha256_file
from minilingua.core.runs import CURRENT, RUNS
from minilingua.core.seeding import content_id
from minilingua.params_file import load_params

REPORTS = Path("reports/train")
EVENTS = REPORTS / "events.jsonl"

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

_SILENCE_S = 900.0
"""Seconds without a record after which a training on another machine counts as ended; it writes
one for every step, evaluation and save."""

OF_A_JOB = frozenset({"preflight", "job"})
"""Telemetry of a Slurm job around the process that trains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What is known of one training."""

    run_key: str
    params: dict[str, Any]
    """params.yaml as the worker resolved it."""
    events: tuple[Event, ...]
    """Replayed steps reconciled, in the order of an uninterrupted run."""
    telemetry: tuple[dict[str, Any], ...]
    """As written: every attempt, oldest first. Empty where only ``reports/train/`` is left."""
    began_ms: int
    """Unix time in milliseconds."""
    fingerprint: str
    """Changes when any of the files read does."""

    @property
    def experiment(self) -> str:
        """Name of the experiment, for people."""
        return str(self.params.get("experiment", "unnamed"))

    @property
    def last_step(self) -> int:
        """Last step that an event tells of."""
        return max((event.step for event in self.events), default=0)

    @property
    def decision(self) -> DecisionEvent | None:
        """The last decision of early stopping."""
        return next((e for e in reversed(self.events) if isinstance(e, DecisionEvent)), None)

    @property
    def end(self) -> EndEvent | None:
        """How the training ended, if it did."""
        return next((e for e in reversed(self.events) if isinstance(e, EndEvent)), None)

    @property
    def attempts(self) -> int:
        """Processes that have trained in this run directory."""
        trained = (r for r in self.telemetry if r.get("kind") not in OF_A_JOB)
        return max((int(record.get("attempt", 1)) for record in trained), default=1)

    @property
    def commit(self) -> str | None:
        """The commit that was checked out when it began."""
        commits = (r.get("commit") for r in self.telemetry if r.get("kind") == "start")
        return next(filter(None, commits), None)

    def validation_loss(self, step: int) -> EvaluationEvent | None:
        """Returns the evaluation after a step."""
        found = (e for e in self.events if isinstance(e, EvaluationEvent) and e.step == step)
        return next(found, None)

    def ended_ms(self) -> int:
        """Returns when the last record was written (milliseconds)."""
        return max((milliseconds(record) for record in self.telemetry), default=self.began_ms)

    def status(self, *, alive: bool) -> RunStatus:
        """Returns what became of it.

        Args:
            alive: a process trains it now.
        """
        if alive:
            return "RUNNING"
        last = self.attempts
        attempt = [r for r in self.telemetry if int(r.get("attempt", 1)) == last]
        ends = [str(r.get("status")) for r in attempt if r.get("kind") == "end"]
        if ends and ends[-1] == "failed":
            return "FAILED"
        return "FINISHED" if self.end else "KILLED"


def read_run(directory: Path) -> Training:
    """Reads a run directory, finished or not.

    Raises:
        MissingInputError: it holds no run.json.
        DataError: run.json or an event cannot be read.
    """
    about_path = directory / "run.json"
    run_key, params = _about(about_path)
    telemetry = tuple(read_telemetry(directory / "telemetry.jsonl"))
    events_path = directory / "events.jsonl"
    events = compact(read_events(events_path)) if events_path.exists() else []
    began = milliseconds(telemetry[0]) if telemetry else _modified_ms(about_path)
    return Training(
        run_key=run_key,
        params=params,
        events=tuple(events),
        telemetry=telemetry,
        began_ms=began,
        fingerprint=_fingerprint(about_path, events_path, directory / "telemetry.jsonl"),
    )


def read_run_key(directory: Path) -> str:
    """Returns the key of the training in a run directory, which is its name unless it is a copy.

    Raises:
        MissingInputError, DataError: as for ``read_run``.
    """
    return _about(directory / "run.json")[0]


def _about(path: Path) -> tuple[str, dict[str, Any]]:
    about = read_json(path, made_by="minilingua train")
    try:
        return str(about["run_key"]), dict(about["params"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: expected run_key and params: {error!r}") from error


def read_published() -> Training:
    """Reads the training of ``reports/train/``, with its telemetry if its run directory is here.

    Raises:
        MissingInputError: ``reports/train/events.jsonl`` is missing.
    """
    path = require(EVENTS, made_by="minilingua train")
    return published_run() or Training(
        run_key=f"events-{sha256_file(path)[:16]}",
        params=load_params().model_dump(mode="json"),
        events=tuple(compact(read_events(path))),
        telemetry=(),
        began_ms=_modified_ms(path),
        fingerprint=_fingerprint(path),
    )


def published_run(root: Path = Path()) -> Training | None:
    """Returns the run whose events are those of ``reports/train/``, if it is here.

    Trainings under several run keys may have gone the same way, as after a change of code that
    changes no number: it is then the current one, or else the newest.

    Args:
        root: the checkout.
    """
    if not (root / EVENTS).exists():
        return None
    published = (root / EVENTS).read_bytes()
    current = current_run(root=root)
    candidates = [current] if current is not None else []
    for directory in [*candidates, *reversed(run_directories(root))]:
        if (directory / "events.jsonl").exists():
            run = read_run(directory)
            lines = "".join(dump_record(event) + "\n" for event in run.events)
            if lines.encode() == published:
                return run
    return None


def run_directories(root: Path = Path()) -> list[Path]:
    """Returns the run directories of a checkout, oldest training first."""
    found = [about.parent for about in (root / RUNS).glob("*/run.json")]
    return sorted(found, key=lambda directory: (_modified_ms(directory / "run.json"), directory))


def current_run(since_ns: int = 0, root: Path = Path()) -> Path | None:
    """Returns the run directory that ``runs/current`` names.

    Args:
        since_ns: leaves out a name that was written before this time (nanoseconds).
        root: the checkout.
    """
    try:
        if (root / CURRENT).stat().st_mtime_ns < since_ns:
            return None
        directory = root / RUNS / (root / CURRENT).read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return directory if (directory / "run.json").exists() else None


class Clock:
    """Tells when a step was trained: for a replayed step, when it was first trained.

    Taking the first record keeps a time once it is known, so that reading a log again later
    gives every figure the same time.
    """

    def __init__(self, training: Training) -> None:
        times: dict[int, int] = {0: training.began_ms}
        for record in step_records(training.telemetry):
            times.setdefault(int(record["step"]), milliseconds(record))
        self._steps = sorted(times)
        self._times = times

    @property
    def last_step(self) -> int:
        """Last step whose time is known; 0 without telemetry."""
        return self._steps[-1]

    def milliseconds(self, step: int) -> int:
        """Returns the time of the step, or of the last one before it that is known."""
        position = bisect_right(self._steps, step)
        return self._times[self._steps[max(position - 1, 0)]]


def step_records(telemetry: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the first telemetry record of every step, in their order."""
    first: dict[int, dict[str, Any]] = {}
    for record in telemetry:
        if record.get("kind") == "step" and isinstance(record.get("step"), int):
            first.setdefault(record["step"], record)
    return [first[step] for step in sorted(first)]


def is_alive(directory: Path, training: Training) -> bool:
    """Tells whether a process trains in a run directory now, here or on another machine.

    Locks of another machine, such as the node of a Slurm job, cannot be seen from here. There, an
    attempt lives that has not told of its end and wrote something not long ago.
    """
    if lock_is_held(directory):
        return True
    last = [r for r in training.telemetry if int(r.get("attempt", 1)) == training.attempts]
    hosts = [r.get("host") for r in last if r.get("kind") == "start"]
    if not hosts or hosts[-1] == platform.node() or any(r.get("kind") == "end" for r in last):
        return False
    # A record from the future is of a clock that was set back: it tells nothing.
    return abs(time.time() - max(milliseconds(r) for r in last) / 1000) < _SILENCE_S


def lock_is_held(directory: Path) -> bool:
    """Tells whether a process on this machine holds a lock in a run directory.

    Only looks (Linux: ``/proc/locks``): trying to take the lock could make a worker that starts
    at this moment believe that another one holds it.
    """
    inodes = {str(file.stat().st_ino) for file in directory.glob("*lock*") if file.is_file()}
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    # The sixth field of a lock that is held is device and inode, as in fe:00:2147217.
    return any(field.rpartition(":")[2] in inodes for line in lines for field in line.split()[5:6])


def _fingerprint(*paths: Path) -> str:
    return content_id("".join(sha256_file(path) for path in paths if path.exists()))


def milliseconds(record: Mapping[str, Any]) -> int:
    """Returns when a record of the telemetry was written (Unix time in milliseconds)."""
    return round(float(record.get("time", 0)) * 1000)


def _modified_ms(path: Path) -> int:
    return path.stat().st_mtime_ns // 1_000_000
