"""Two sides of an evaluation, item by item: how large is the difference, and is it one?

    items of the left side ──┐ same task, item, language, format, instruction
    items of the right side ─┴► differences ─► interval (bootstrap), p (paired randomization)
                                              └► q: false discovery rate over the languages

Sides are compared on the items that both answered; what only one has is counted. Losses per token
are left out where the two have other tokenizers: bits per byte compare those. Comparisons over
all languages are tested as they are; those of single languages are corrected for their number
(Benjamini and Hochberg, "Controlling the False Discovery Rate", 1995).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from minilingua.core.errors import DataError
from minilingua.core.records import ItemResult
from minilingua.core.seeding import generator
from minilingua.evaluation.aggregate import Column, Group, Table
from minilingua.evaluation.metrics import METRICS
from minilingua.evaluation.resampling import bootstrap, difference_interval, paired_test, ratio
from minilingua.evaluation.scores import ALL

LEVEL = 0.05
"""Of significance, and of the false discovery rate."""
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One figure of two sides."""

    task: str
    language: str
    answer_format: str | None
    metric: str
    left: float
    right: float
    difference: float
    """right - left."""
    low: float | None
    """Lower end of the 95 % bootstrap interval of the difference."""
    high: float | None
    """Upper end of it."""
    p: float
    """Of the paired test, two-sided."""
    q: float
    """p after the correction for the number of languages."""
    chance: float | None
    """What guessing would score on the same items."""
    n: int
    """Questions or conversations compared: those of the side that has fewer, where a figure is not
    of every answer (repetition, wrong_language)."""
    draws: int | None = None
    """Facts behind them, which are what is drawn; a question of no known fact is one. None in files
    of before it was counted."""

    @property
    def verdict(self) -> str:
        """``better``, ``worse`` or ``no difference shown``: of the right side."""
        if self.q >= LEVEL or self.difference == 0:
            return "no difference shown"
        higher_is_better = METRICS[self.metric].better == "higher"
        return "better" if (self.difference > 0) == higher_is_better else "worse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """All of two sides."""

    comparisons: list[Comparison]
    only_left: int
    """Items that only the left side has."""
    only_right: int
    """Items that only the right side has."""


def compare(
    left: Iterable[ItemResult], right: Iterable[ItemResult], *, seed: int, resamples: int
) -> Compared:
    """Compares two sides on what both answered.

    Args:
        left: results of one model.
        right: results of the other.
        seed: root seed of draws and exchanges.
        resamples: number of both.

    Raises:
        DataError: they have no item in common.
    """
    sides = [{_identity(result): result for result in side} for side in (left, right)]
    common = sorted(sides[0].keys() & sides[1].keys())
    if not common:
        raise DataError("the two evaluations have no item in common: there is nothing to compare")
    tables: defaultdict[str, tuple[Table, Table]] = defaultdict(lambda: (Table(), Table()))
    for identity in common:
        results = [side[identity] for side in sides]
        # Evaluations of before facts were noted have none: both sides need the same clusters.
        fact = next((result.fact for result in results if result.fact is not None), None)
        for table, result in zip(tables[identity[0]], results, strict=True):
            table.add(result, fact)
    found = [
        comparison
        for task, pair in tables.items()
        for comparison in _of_task(task, *pair, seed=seed, resamples=resamples)
    ]
    return Compared(
        comparisons=_corrected(found),
        only_left=len(sides[0]) - len(common),
        only_right=len(sides[1]) - len(common),
    )


def _identity(result: ItemResult) -> tuple[str, ...]:
    return (
        result.task,
        result.language,
        result.item,
        result.answer_format or "",
        result.instruction_language or "",
    )


def _of_task(
    task: str, left: Table, right: Table, *, seed: int, resamples: int
) -> Iterator[Comparison]:
    strata = np.asarray(left.strata())
    counts = bootstrap(strata.tolist(), resamples, generator(seed, "compare", "bootstrap", task))
    for (group, metric), column in left.columns.items():
        other = right.columns.get((group, metric))
        if other is None or METRICS[metric].better is None or group[3] not in {None, ALL}:
            continue
        one, two = column.arrays(len(strata)), other.arrays(len(strata))
        if METRICS[metric].is_per_token and not np.array_equal(one[1], two[1]):
            continue  # other tokenizers
        present = np.flatnonzero((one[1] > 0) | (two[1] > 0))
        if not one[1].any() or not two[1].any():
            continue
        one, two = (one[0][present], one[1][present]), (two[0][present], two[1][present])
        values = [ratio(*side)[0] for side in (one, two)]
        low, high = difference_interval(counts[:, present], one, two)
        certain = len(present) < 2 or not np.isfinite([low, high]).all()
        yield Comparison(
            task=group[0],
            language=group[1],
            answer_format=group[2],
            metric=metric,
            left=values[0],
            right=values[1],
            difference=values[1] - values[0],
            low=None if certain else round(low, _DIGITS),
            high=None if certain else round(high, _DIGITS),
            # The same exchanges for all: the same items in two groups have the same p.
            p=paired_test(one, two, resamples, generator(seed, "compare", "test")),
            q=1.0,
            chance=_chance(left.columns, group, metric),
            n=min(len(column.items), len(other.items)),
            draws=len(present),
        )


def _chance(columns: dict[tuple[Group, str], Column], group: Group, metric: str) -> float | None:
    column = columns.get((group, "chance"))
    if column is None or not metric.startswith("accuracy"):
        return None
    return math.fsum(total for total, _ in column.sums.values()) / column.weight


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Returns the comparisons in a fixed order with their q."""
    from scipy.stats import false_discovery_control

    families: defaultdict[tuple[str | None, ...], list[Comparison]] = defaultdict(list)
    for item in comparisons:
        over_all = ALL if item.language == ALL else None
        families[item.task, item.answer_format, item.metric, over_all].append(item)
    corrected = [
        replace(item, q=float(q))
        for members in families.values()
        for item, q in zip(
            members, false_discovery_control([member.p for member in members]), strict=True
        )
    ]
    return sorted(corrected, key=lambda c: (c.task, c.metric, c.answer_format or "", c.language))
