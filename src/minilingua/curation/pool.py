"""Runs the tasks of a pass here or in several processes: same results, in the same order.

Processes start anew (*spawn*): forking one that has threads, as pyarrow starts them, may hang.
"""

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from minilingua.core.errors import MiniLinguaError

Task = TypeVar("Task")
Result = TypeVar("Result")

WORTH_PROCESSES = 32 << 20
"""Bytes of input from which processes save more time than they take to start (about 2 s)."""


class Pool:
    """A number of processes; with one, tasks run in this process."""

    def __init__(self, executor: ProcessPoolExecutor | None) -> None:
        self._executor = executor

    def run(
        self, function: Callable[[Task], Result], tasks: Sequence[Task], sizes: Sequence[int]
    ) -> Iterator[Result]:
        """Yields the results in the order of the tasks; the largest tasks start first.

        Raises:
            MiniLinguaError: as ``function``, the first in the order of the tasks; or a process was
                killed.
        """
        if self._executor is None:
            yield from map(function, tasks)
            return
        order = sorted(range(len(tasks)), key=lambda index: -sizes[index])
        futures = {index: self._executor.submit(function, tasks[index]) for index in order}
        try:
            for index in range(len(tasks)):
                yield futures[index].result()
        except BrokenProcessPool as error:
            raise MiniLinguaError(
                "a process of `curate` was killed, perhaps for want of memory; the last output is "
                "still there"
            ) from error
        finally:
            for future in futures.values():
                future.cancel()


@contextmanager
def open_pool(workers: int) -> Iterator[Pool]:
    """Yields a pool of so many processes."""
    if workers == 1:
        yield Pool(None)
        return
    executor = ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start
    )
    try:
        yield Pool(executor)
    finally:
        executor.shutdown(cancel_futures=True)


def workers_for(size: int) -> int:
    """Returns how many processes an input of ``size`` bytes is worth on this machine."""
    return len(os.sched_getaffinity(0)) if size >= WORTH_PROCESSES else 1


def _start() -> None:
    # Rows are made of records without cycles: looking for garbage among them is a tenth of the time.
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    # One thread for each process's libraries: the processes share the cores already.
    os.environ["RAYON_NUM_THREADS"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
