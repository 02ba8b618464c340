"""Metrics of one MLflow run, appended without ever doubling a row.

MLflow adds a row for whatever differs in key, step, time or value, and removes none. So what the
store has is read first, and only what is missing is written.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from minilingua.tracking.metrics import Point

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BATCH = 1000
"""Most metrics that MLflow takes in one request."""


class MetricLog:
    """What one run's metrics are, in the store; reads each metric once."""

    def __init__(self, client: "MlflowClient", run_id: str) -> None:
        self._client = client
        self._run_id = run_id
        self._values: dict[str, dict[int, float]] = {}

    def missing(self, points: Iterable[Point]) -> list[Point]:
        """Returns the points whose metric has no value at their step."""
        return [point for point in points if point.step not in self._history(point.key)]

    def contradicted(self, points: Iterable[Point]) -> list[Point]:
        """Returns the points for which the store has another value at their step."""
        return [
            point
            for point in points
            if (stored := self._history(point.key).get(point.step)) is not None
            and not _equal(stored, point.value)
        ]

    def renewed(self, points: Iterable[Point]) -> list[Point]:
        """Returns the points that differ from the last value, each as the step after that one.

        For figures without steps: the last one is what counts, and what the UI shows.
        """
        changed = []
        for point in points:
            last = max(self._history(point.key), default=None)
            if last is None:
                changed.append(point)
            elif not _equal(self._history(point.key)[last], point.value):
                changed.append(replace(point, step=last + 1))
        return changed

    def append(self, points: Sequence[Point]) -> None:
        """Writes points; the caller has made sure that they are missing."""
        from mlflow.entities import Metric

        for begin in range(0, len(points), _BATCH):
            group = points[begin : begin + _BATCH]
            metrics = [Metric(p.key, p.value, p.time_ms, p.step) for p in group]
            self._client.log_batch(self._run_id, metrics=metrics)
            for point in group:
                self._history(point.key)[point.step] = point.value

    def _history(self, key: str) -> dict[int, float]:
        if key not in self._values:
            rows = self._client.get_metric_history(self._run_id, key)
            self._values[key] = {row.step: row.value for row in rows}
        return self._values[key]


def _equal(stored: float, value: float) -> bool:
    # Databases other than SQLite may round the last bit.
    return math.isclose(stored, value, rel_tol=1e-12, abs_tol=0)
