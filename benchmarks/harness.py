"""Interleaved timing: every repetition runs all sides, so that what slows the machine slows all.

    sides ─► repetition 1: a b c │ 2: c b a │ 3: a b c │ ..  ─► seconds per side and part
                                                                 │
    ratio of two sides: median of the ratios within a repetition ┘

A side is a function that does its work once and returns the seconds of its parts: a benchmark
decides what belongs to a part, and what is prepared outside of it.
"""

import gc
import os
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from tqdm import tqdm

Parts = Mapping[str, float]
"""Seconds by the name of what took them."""
Side = Callable[[int], Parts]
"""Does its work for a repetition, counted from 0 with the warm-ups."""

WHOLE = "whole"
CPU = "cpu"
"""Part of ``timed``: seconds of all processors, ended processes included. Other work on the machine
changes them little, where it may double the seconds of the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A median ratio and how far the repetitions spread."""

    median: float
    lower_quartile: float
    upper_quartile: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """What ``interleave`` measured, warm-ups left out."""

    seconds: dict[str, list[Parts]]
    """Side ─► parts of each repetition."""

    @property
    def repetitions(self) -> int:
        """How often every side ran."""
        return len(next(iter(self.seconds.values())))

    def ratio(self, numerator: str, denominator: str, part: str = WHOLE) -> Ratio:
        """Returns the time of one side over that of another in the same repetition."""
        ratios = [
            a[part] / b[part]
            for a, b in zip(self.seconds[numerator], self.seconds[denominator], strict=True)
        ]
        low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        return Ratio(median=median(ratios), lower_quartile=low, upper_quartile=high)

    def median_seconds(self, side: str, part: str = WHOLE) -> float:
        """Returns the median time of a part."""
        return median(parts[part] for parts in self.seconds[side])


def interleave(
    sides: Mapping[str, Side], *, repetitions: int, warmups: int = 1, label: str
) -> Timings:
    """Runs all sides ``warmups + repetitions`` times, in turn, every second time backwards."""
    seconds: dict[str, list[Parts]] = {name: [] for name in sides}
    rounds = warmups + repetitions
    with tqdm(total=rounds * len(sides), desc=label, unit="run", disable=None) as progress:
        for repetition in range(rounds):
            names: Sequence[str] = list(sides)[:: -1 if repetition % 2 else 1]
            for name in names:
                progress.set_postfix_str(name)
                gc.collect()  # one side's garbage is not charged to the next
                parts = sides[name](repetition)
                if repetition >= warmups:
                    seconds[name].append(parts)
                progress.update()
    return Timings(seconds=seconds)


def timed(work: Callable[[], object]) -> Side:
    """Returns the side that does ``work``, whatever the repetition."""

    def side(_: int) -> Parts:
        cpu, began = cpu_seconds(), time.perf_counter()
        result = work()
        parts = {WHOLE: time.perf_counter() - began, CPU: cpu_seconds() - cpu}
        del result  # freeing it is no part of the work
        return parts

    return side


def cpu_seconds() -> float:
    """Returns the processor time of this process and of those it has ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def begin(threads: int) -> dict[str, Any]:
    """Holds this process, and those it starts, to as many cores; returns the settings it made.

    Call it before torch or tokenizers are imported: they read the environment once.
    """
    before = os.getloadavg()[0]
    cores = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cores)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(len(cores))
    # As the training worker has it: threads that spin take the core from the one they wait for.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    os.environ["HF_HUB_OFFLINE"] = "1"
    return {"threads": len(cores), "load_average_before": round(before, 2)}
