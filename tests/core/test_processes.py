import gc
import os
import signal
import subprocess
import sys

import psutil  # type: ignore[import-untyped]  # it ships no type information
import pytest

from minilingua.core.errors import DataError, MiniLinguaError
from minilingua.core.processes import (
    WORTH_PROCESSES,
    available_processors,
    processes_for,
    task_runner,
)


def square(number: int) -> int:
    return number * number


def fail(number: int) -> int:
    if number:
        raise DataError(f"row {number}")
    return number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def tasks(*numbers: int) -> list[tuple[object, ...]]:
    return [(number,) for number in numbers]


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_tasks(processes: int) -> None:
    squares = [number * number for number in range(9)]
    with task_runner(processes) as run:
        assert list(run(square, tasks(*range(9)))) == squares
        assert list(run(square, tasks(*range(9)), sizes=range(9))) == squares
        with pytest.raises(DataError, match="row 1"):
            list(run(fail, tasks(0, 1, 2, 3), sizes=range(4)))


def test_garbage_is_looked_for_rarely_and_as_before_afterwards() -> None:
    before = gc.get_threshold()
    with task_runner(1) as run:
        assert list(run(gc.get_threshold, [()])) == [gc.get_threshold()]
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_freeze_count() > 0
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_a_killed_process_gets_one_line() -> None:
    with task_runner(2) as run, pytest.raises(MiniLinguaError, match="was killed"):
        list(run(die, tasks(1)))


ENDLESS = """
import time
from minilingua.core.processes import task_runner
with task_runner(2) as run:
    list(run(time.sleep, [(600,), (600,)]))
"""


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(signal_number: int) -> None:
    with subprocess.Popen([sys.executable, "-c", ENDLESS]) as parent:
        family = psutil.Process(parent.pid)
        while len(workers := family.children()) < 3:  # two, and Python's resource tracker
            assert parent.poll() is None
        parent.send_signal(signal_number)
    _, left = psutil.wait_procs(workers, timeout=60)
    for process in left:
        process.kill()
    assert not left


def test_small_inputs_start_no_process() -> None:
    assert processes_for(WORTH_PROCESSES - 1) == 1
    assert processes_for(WORTH_PROCESSES) == available_processors()
