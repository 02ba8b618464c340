"""Follows a training that runs: what it appends is in MLflow seconds later.

every few seconds: worker alive? ─► read runs/current ─► ingest what is new
worker gone:       ingest the rest, with what became of it ─► end
"""

import os
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no type information

from minilingua.core.errors import DataError, TrackingError
from minilingua.provenance.training_record import current_run, lock_is_held, read_run
from minilingua.tracking.ingest import Ingester
from minilingua.tracking.store import DATABASE, locked_store

_PAUSE = 2.0
_PAUSES_PER_WORK = 20
"""A pass that took s seconds is followed by a pause of at least 20 s: at most 5 % of one CPU."""

_CLOCK_SLACK = 2.0
"""Seconds by which the start of a process, counted from boot, and a file's time may disagree."""


def follow(process: int | None, run: Path | None = None) -> None:
    """Feeds MLflow until the training ends.

    Args:
        process: id of a process that lives as long as the training. Without it, the training
            lives as long as something holds the lock of its run directory.
        run: run directory; without it, the one that ``runs/current`` names, as soon as
            the training has written that.

    Raises:
        TrackingError: the store could not be used in the last pass.
        DataError: events could not be read in the last pass.
    """
    worker = _find(process) if process is not None else None
    since_ns = int((worker.create_time() - _CLOCK_SLACK) * 1e9) if worker is not None else 0
    ingester = Ingester()
    seen = ""
    opened = 0
    while True:
        began = time.monotonic()
        directory = run or current_run(since_ns)
        if process is not None:
            alive = worker is not None and _lives(worker)
        else:
            alive = directory is not None and lock_is_held(directory)
        if directory is not None:
            state = _state(directory, alive=alive)
            if state != seen:
                _start_again_if_deleted(opened)
                try:
                    with locked_store() as store:
                        opened = opened or _database()
                        ingester.ingest(store, read_run(directory), alive=alive)
                    seen = state
                except (TrackingError, DataError) as error:
                    _start_again_if_deleted(opened)
                    if not alive:
                        raise
                    print(f"minilingua track: {error}; trying again", file=sys.stderr)  # noqa: T201
        if not alive:
            return
        _pause(worker, max(_PAUSE, _PAUSES_PER_WORK * (time.monotonic() - began)))


def _start_again_if_deleted(opened: int) -> None:
    """Starts this program anew if another database than the one it opened is in its place.

    MLflow keeps a deleted file open, and would write into nothing.
    """
    if opened and opened != _database():
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - ourselves


def _database() -> int:
    """Returns what tells the embedded database from another one in its place; 0 where none is."""
    try:
        return DATABASE.stat().st_ino
    except OSError:
        return 0


def _find(process: int) -> psutil.Process | None:
    try:
        return psutil.Process(process)
    except psutil.NoSuchProcess:
        return None


def _lives(worker: psutil.Process) -> bool:
    try:
        return bool(worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _pause(worker: psutil.Process | None, seconds: float) -> None:
    """Sleeps, but not past the end of the worker by more than half a second."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.5))
        if worker is not None and not _lives(worker):
            return


def _state(directory: Path, *, alive: bool) -> str:
    """Returns a text that changes when there is something new to read."""
    sizes = [
        (directory / name).stat().st_size
        for name in ("events.jsonl", "telemetry.jsonl")
        if (directory / name).exists()
    ]
    return f"{directory} {sizes} {alive}"
