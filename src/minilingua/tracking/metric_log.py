"""Metrics of one MLflow run, appended without ever doubling a row.

MLflow adds a row for whatever differs in key, step, time or value, and removes none. So what the
store has is read first, and only what is missing is written.

Its client takes about 0.1 ms a point, which is nothing while a training runs, and minutes for a
long one that is read from the beginning. A backlog therefore goes into the embedded database in
one transaction, by MLflow's own table; the last point of every metric still goes by the client,
which keeps what the UI shows as the latest.
"""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from minilingua.tracking.metrics import Point

if TYPE_CHECKING:
    from mlflow import MlflowClient

_BATCH = 1000
"""Most metrics that MLflow takes in one request."""

_PATIENCE_S = 20
"""How long a locked database is waited for, as by MLflow."""

BACKLOG = 20_000
"""Points from which a transaction of our own is worth it."""

_INSERT = (
    "INSERT INTO metrics (key, step, value, timestamp, run_uuid, is_nan) VALUES (?, ?, ?, ?, ?, ?)"
)

_CACHE = "PRAGMA cache_size = -200000"
"""KiB that the transaction may hold in memory; the table has three indices."""


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
                changed.append(point._replace(step=last + 1))
        return changed

    def append(self, points: Sequence[Point]) -> None:
        """Writes points; the caller has made sure that they are missing."""
        from mlflow.entities import Metric

        if len(points) >= BACKLOG and self._client.tracking_uri.startswith("sqlite:"):
            points = self._append_backlog(points)
        for begin in range(0, len(points), _BATCH):
            group = points[begin : begin + _BATCH]
            metrics = [Metric(p.key, p.value, p.time_ms, p.step) for p in group]
            self._client.log_batch(self._run_id, metrics=metrics)
            self._remember(group)

    def _append_backlog(self, points: Sequence[Point]) -> list[Point]:
        """Writes all but the last point of every metric; returns those that are left."""
        from sqlalchemy import create_engine

        last: dict[str, Point] = {}
        for point in points:
            if point.key not in last or point.step > last[point.key].step:
                last[point.key] = point
        rows, left = [], []
        for point in points:
            # Of values that are no numbers MLflow has a form of its own.
            if point is last[point.key] or not math.isfinite(point.value):
                left.append(point)
            else:
                rows.append((*point, self._run_id, False))
                self._history(point.key)  # as it is now
        rows.sort()  # in the order of the table's key, which is several times faster
        engine = create_engine(self._client.tracking_uri, connect_args={"timeout": _PATIENCE_S})
        try:
            with engine.begin() as connection:
                connection.exec_driver_sql(_CACHE)
                connection.exec_driver_sql(_INSERT, rows)
        finally:
            engine.dispose()
        for key, step, value, *_ in rows:
            self._values[key][step] = value
        return left

    def _remember(self, points: Iterable[Point]) -> None:
        for point in points:
            self._history(point.key)[point.step] = point.value

    def _history(self, key: str) -> dict[int, float]:
        if key not in self._values:
            rows = self._client.get_metric_history(self._run_id, key)
            self._values[key] = {row.step: row.value for row in rows}
        return self._values[key]


def _equal(stored: float, value: float) -> bool:
    # Databases other than SQLite may round the last bit.
    return math.isclose(stored, value, rel_tol=1e-12, abs_tol=0)
