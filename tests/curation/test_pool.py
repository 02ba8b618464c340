import os
import signal

import pytest

from minilingua.core.errors import DataError, MiniLinguaError
from minilingua.curation.pool import WORTH_PROCESSES, open_pool, workers_for


def square(number: int) -> int:
    return number * number


def fail(number: int) -> int:
    if number:
        raise DataError(f"row {number}")
    return number


def die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_tasks(workers: int) -> None:
    with open_pool(workers) as pool:
        assert list(pool.run(square, range(9), list(range(9)))) == [n * n for n in range(9)]
        with pytest.raises(DataError, match="row 1"):
            list(pool.run(fail, [0, 1, 2, 3], [0, 1, 2, 3]))


def test_a_killed_process_gets_one_line() -> None:
    with open_pool(2) as pool, pytest.raises(MiniLinguaError, match="was killed"):
        list(pool.run(die, [1], [1]))


def test_small_inputs_start_no_process() -> None:
    assert workers_for(WORTH_PROCESSES - 1) == 1
    assert workers_for(WORTH_PROCESSES) == len(os.sched_getaffinity(0))
