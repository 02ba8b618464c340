"""Independent tasks, done here or by several processes, with the same results either way."""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from threading import Thread
from typing import Protocol, TypeVar

from minilingua.core.errors import MiniLinguaError

Result = TypeVar("Result")

WORTH_PROCESSES = 16 << 20
"""Bytes of input from which processes save more time than they take to start (1 to 2 s)."""


class TaskRunner(Protocol):
    """Calls a function with the arguments of each task."""

    def __call__(
        self,
        function: Callable[..., Result],
        tasks: Sequence[tuple[object, ...]],
        sizes: Sequence[int] | None = None,
    ) -> Iterator[Result]:
        """Yields the results in the order of the tasks; with sizes, the largest starts first.

        Raises:
            MiniLinguaError: as ``function``, the first in the order of the tasks; or a process was
                killed.
        """


def available_processors() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes_for(size: int) -> int:
    """Returns how many processes an input of ``size`` bytes is worth on this machine."""
    return available_processors() if size >= WORTH_PROCESSES else 1


@contextmanager
def task_runner(processes: int) -> Iterator[TaskRunner]:
    """Yields a runner on ``processes`` new processes, or on this one if that is 1.

    The processes are spawned: a fork of a process with threads (progress bars, pyarrow, math
    libraries) may hang. Function and arguments have to be picklable.
    """
    if processes == 1:
        with rare_garbage_collection():
            yield _run_here
        return
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), initializer=_start
    ) as pool:

        def submit(
            function: Callable[..., Result],
            tasks: Sequence[tuple[object, ...]],
            sizes: Sequence[int] | None = None,
        ) -> Iterator[Result]:
            places: Sequence[int] = range(len(tasks))
            if sizes is not None:
                places = sorted(places, key=lambda place: -sizes[place])
            futures = {place: pool.submit(function, *tasks[place]) for place in places}
            try:
                for place in range(len(tasks)):
                    yield futures[place].result()
            except BrokenProcessPool as error:
                raise MiniLinguaError(
                    "a process of this stage was killed, perhaps for want of memory"
                ) from error
            finally:
                for future in futures.values():
                    future.cancel()

        yield submit


@contextmanager
def rare_garbage_collection() -> Iterator[None]:
    """Looks for garbage rarely while rows are worked on.

    Rows are made of records without cycles; to look for garbage there is a tenth of the time.
    """
    thresholds = gc.get_threshold()
    _collect_rarely()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def _collect_rarely() -> None:
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)


def _run_here(
    function: Callable[..., Result],
    tasks: Sequence[tuple[object, ...]],
    sizes: Sequence[int] | None = None,  # noqa: ARG001 (one after the other: no matter)
) -> Iterator[Result]:
    return (function(*arguments) for arguments in tasks)


def _start() -> None:
    # Otherwise, when this one's parent is killed, it would wait for tasks forever.
    Thread(target=_end_with_parent, daemon=True).start()
    _collect_rarely()
    # One thread for each process's libraries: the processes share the processors already.
    os.environ["RAYON_NUM_THREADS"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    # Arrow's own allocator keeps what it had for each of its threads.
    os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
