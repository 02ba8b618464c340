from collections.abc import Mapping

import pytest

from benchmarks.harness import CPU, WHOLE, Side, Timings, interleave, timed


def test_sides_take_turns_and_every_second_round_runs_backwards() -> None:
    runs: list[tuple[str, int]] = []

    def side(name: str) -> Side:
        def run(repetition: int) -> Mapping[str, float]:
            runs.append((name, repetition))
            return {WHOLE: float(repetition)}

        return run

    timings = interleave(
        {name: side(name) for name in "ab"}, repetitions=2, warmups=1, label="test"
    )
    assert runs == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert timings.seconds == {name: [{WHOLE: 1.0}, {WHOLE: 2.0}] for name in "ab"}
    assert timings.repetitions == 2


def test_a_ratio_is_the_median_over_the_pairs_not_the_ratio_of_medians() -> None:
    timings = Timings(
        seconds={
            "slow": [{WHOLE: 2.0}, {WHOLE: 40.0}, {WHOLE: 9.0}],
            "fast": [{WHOLE: 1.0}, {WHOLE: 10.0}, {WHOLE: 3.0}],
        }
    )
    ratio = timings.ratio("slow", "fast")
    assert (ratio.lower_quartile, ratio.median, ratio.upper_quartile) == (2.5, 3.0, 3.5)
    assert timings.ratio("fast", "slow").median == pytest.approx(1 / 3)
    assert timings.median_seconds("slow") == 9.0


def test_one_repetition_has_a_ratio_without_spread() -> None:
    timings = Timings(seconds={"a": [{"part": 3.0}], "b": [{"part": 2.0}]})
    ratio = timings.ratio("a", "b", "part")
    assert ratio.lower_quartile == ratio.median == ratio.upper_quartile == 1.5


def test_timed_work_is_done_once_a_run() -> None:
    done: list[int] = []
    parts = timed(lambda: done.append(1))(0)
    assert done == [1]
    assert 0 <= parts[WHOLE] < 1
    assert 0 <= parts[CPU] < 1
