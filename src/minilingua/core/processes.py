"""Independent tasks, done here or by several processes, with the same results either way."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Protocol, TypeVar

Result = TypeVar("Result")


class TaskRunner(Protocol):
    """Calls a function with the arguments of each task."""

    def __call__(
        self, function: Callable[..., Result], tasks: Sequence[tuple[object, ...]]
    ) -> Iterator[Result]:
        """Yields the results in the order of the tasks."""


def available_processors() -> int:
    """Returns how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def task_runner(processes: int) -> Iterator[TaskRunner]:
    """Yields a runner on ``processes`` new processes, or on this one if that is 1.

    The processes are spawned, which takes about half a second: a fork of a process with threads
    (progress bars, math libraries) may hang. Function and arguments have to be picklable.
    """
    if processes == 1:
        yield lambda function, tasks: (function(*arguments) for arguments in tasks)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:

        def submit(
            function: Callable[..., Result], tasks: Sequence[tuple[object, ...]]
        ) -> Iterator[Result]:
            futures = [pool.submit(function, *arguments) for arguments in tasks]
            return (future.result() for future in futures)

        yield submit
