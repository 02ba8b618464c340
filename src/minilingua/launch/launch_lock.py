"""A lock that two login nodes with one file system respect.

DVC's own locks hold a process id only: a holder on another machine looks dead to them. This one
names the machine, and its holder renews it while it lives.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from filelock import FileLock
from flufl.lock import Lock, LockState, NotLockedError, TimeOutError

from minilingua.core.errors import RunBusyError

LIFETIME = timedelta(seconds=240)
"""A lock that was not renewed for so long is nobody's. Longer than Slurm may keep us waiting."""

GUARD = "launch.guard"
"""Held for the moment in which the lock is taken; those who may remove it are of one machine."""


@contextmanager
def launch_lock(directory: Path) -> Iterator[Callable[[], None]]:
    """Holds a directory for the block; yields what renews the lock, to be called often.

    Raises:
        RunBusyError: another process holds it.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "launch.lock"
    lock = Lock(str(path.absolute()), lifetime=LIFETIME)
    # One at a time: a second one that finds the dead holder too would remove the first one's lock.
    with FileLock(directory / GUARD):
        if lock.state == LockState.stale:  # held by a dead process of this machine
            path.unlink(missing_ok=True)
        try:
            lock.lock(timeout=timedelta(seconds=1))
        except TimeOutError as error:
            raise _busy(directory, lock) from error

    def renew() -> None:
        try:
            lock.refresh()
        except NotLockedError:  # we slept through its lifetime; take it back if nobody else did
            try:
                lock.lock(timeout=timedelta(seconds=1))
            except TimeOutError as error:
                raise _busy(directory, lock) from error

    try:
        yield renew
    finally:
        lock.unlock(unconditionally=True)


def _busy(directory: Path, lock: Lock) -> RunBusyError:
    host, process = _holder(lock)
    return RunBusyError(
        f"{directory} is held by process {process} on {host}, which follows the same job; end "
        f"it, or wait {LIFETIME.seconds} s if it is gone"
    )


def _holder(lock: Lock) -> tuple[str, int]:
    try:
        host, process, _ = lock.details
    except NotLockedError:
        return "this machine", 0
    return host, process
