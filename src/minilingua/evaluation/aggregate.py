"""Items to scores: every figure of ``reports/evaluation.json`` is made here.

ItemResult ─► groups (task or subset, language, format, instruction) ─► Score
               └► totals and weights by cluster ─► standard error, bootstrap interval

A cluster is a fact with all that asks it, in whatever wording, language and format; where no fact
is told, a question in all its formats, or a conversation.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from minilingua.core.records import ItemResult, Score
from minilingua.core.seeding import generator
from minilingua.evaluation.metrics import METRICS
from minilingua.evaluation.resampling import Floats, bootstrap, intervals, ratio
from minilingua.evaluation.scores import ALL

Group = tuple[str, str, str | None, str | None]
"""Task (subset included), language, answer format, instruction language."""
Cluster = tuple[str | None, str]
"""None and the fact; language and item where no fact is told."""

_DIGITS = 6
"""Of an interval's ends: the number of BLAS threads must not show in the report."""


def groups_of(result: ItemResult) -> Iterator[Group]:
    """Yields every group that an item counts in."""
    tasks = (result.task, *(f"{result.task}_{subset}" for subset in result.subsets))
    formats = {result.answer_format, None if result.answer_format is None else ALL}
    instructions = {
        result.instruction_language,
        None if result.instruction_language is None else ALL,
    }
    yield from product(tasks, (result.language, ALL), formats, instructions)


@dataclass(slots=True)
class Column:
    """One figure's totals and weights, by cluster."""

    sums: dict[int, list[float]] = field(default_factory=dict)
    """Index of the cluster ─► total, weight."""
    items: set[tuple[str, str]] = field(default_factory=set)
    """Language and name of what was added with a weight."""

    def add(self, cluster: int, item: tuple[str, str], total: float, weight: float) -> None:
        """Adds an item."""
        if weight:
            self.items.add(item)
        entry = self.sums.setdefault(cluster, [0.0, 0.0])
        entry[0] += total
        entry[1] += weight

    def arrays(self, clusters: int) -> tuple[Floats, Floats]:
        """Returns totals and weights of as many clusters, 0 for those without an item."""
        table = np.zeros((clusters, 2))
        table[list(self.sums)] = list(self.sums.values())
        return table[:, 0], table[:, 1]

    @property
    def weight(self) -> float:
        """Total weight."""
        return math.fsum(weight for _, weight in self.sums.values())


@dataclass(slots=True)
class Table:
    """Items of one model and task as columns over clusters."""

    clusters: dict[Cluster, int] = field(default_factory=dict)
    columns: dict[tuple[Group, str], Column] = field(default_factory=dict)
    """(group, metric) ─► figure."""

    def add(self, result: ItemResult, fact: str | None) -> None:
        """Adds an item to every group that it counts in.

        Args:
            result: the item.
            fact: what it asks, where that is known.
        """
        item = (result.language, result.item)
        name = item if fact is None else (None, fact)
        cluster = self.clusters.setdefault(name, len(self.clusters))
        for group in groups_of(result):
            for metric, (total, weight) in result.values.items():
                column = self.columns.setdefault((group, metric), Column())
                column.add(cluster, item, total, weight)

    def strata(self) -> list[int]:
        """Returns a number for the language of each cluster; facts, in several, have their own.

        One that is alone would be drawn every time, as if it were certain: it is drawn with the
        largest stratum.
        """
        sizes = Counter(language for language, _ in self.clusters)
        largest = max(sizes, key=sizes.__getitem__, default=None)
        numbers = {language: number for number, language in enumerate(sizes)}
        for language, size in sizes.items():
            if size == 1:
                numbers[language] = numbers[largest]
        return [numbers[language] for language, _ in self.clusters]


def score_items(results: Iterable[ItemResult], seed: int, resamples: int) -> list[Score]:
    """Returns the scores of all groups.

    Args:
        results: of one or several models, in any order.
        seed: root seed of the bootstrap.
        resamples: of the bootstrap.
    """
    tables: defaultdict[tuple[str, str], Table] = defaultdict(Table)
    ordered = sorted(results, key=lambda r: (r.model, r.task, r.language, r.item))
    for result in ordered:
        tables[result.model, result.task].add(result, result.fact)
    scores: list[Score] = []
    for (model, task), table in tables.items():
        # The same draws for every model: the seed does not name it.
        counts = bootstrap(
            table.strata(), resamples, generator(seed, "evaluate", "bootstrap", task)
        )
        scores += _scores(model, table, counts)
    return scores


def _scores(model: str, table: Table, counts: Floats) -> Iterator[Score]:
    names = [name for name, column in table.columns.items() if column.weight]
    pairs = [table.columns[name].arrays(len(table.clusters)) for name in names]
    if not pairs:
        return
    totals = np.stack([totals for totals, _ in pairs], axis=1)
    weights = np.stack([weights for _, weights in pairs], axis=1)
    ends = intervals(counts, totals, weights)
    for number, ((task, language, answer_format, instruction), metric) in enumerate(names):
        present = np.flatnonzero(weights[:, number])
        value, stderr = ratio(totals[present, number], weights[present, number])
        is_exact = METRICS[metric].name == "chance"
        certain = is_exact or stderr is None or not np.isfinite(ends[:, number]).all()
        low, high = (None, None) if certain else map(float, ends[:, number].round(_DIGITS))
        yield Score(
            model=model,  # type: ignore[arg-type]  # it came from an ItemResult
            task=task,
            language=language,
            answer_format=answer_format,
            instruction_language=instruction,
            metric=metric,
            value=value,
            stderr=None if is_exact else stderr,
            low=low,
            high=high,
            n=round(float(weights[:, number].sum())),
        )
