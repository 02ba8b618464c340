"""One training into MLflow: one run per run key, and nothing more when it is done again.

Training ─► find or create the run ─► parameters ─► missing metrics ─► status, attempts, tags
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from minilingua.provenance.training_record import Training
from minilingua.tracking.attempt_runs import delete_with_attempts, ingest_attempts
from minilingua.tracking.metric_log import MetricLog
from minilingua.tracking.metrics import training_points
from minilingua.tracking.store import RUN_KEY_TAG, Store, set_status, set_tags

if TYPE_CHECKING:
    from mlflow.entities import Run

_INGESTED_TAG = "minilingua.ingested"
_FORMAT = 2
"""What is made of a training; counted up, so that a store made before gets what is new."""

_PARAMS_AT_ONCE = 100
_LONGEST_PARAM = 6000


@dataclass(slots=True)
class Ingester:
    """Brings runs up to date; remembers which metrics it has seen in the store."""

    logs: dict[str, MetricLog] = field(default_factory=dict)
    """Run id ─► its metrics."""

    def ingest(self, store: Store, training: Training, *, alive: bool) -> "Run":
        """Brings the run of a training up to date and returns it.

        Args:
            store: the store, locked for us.
            training: what is on disk.
            alive: a process trains it now.
        """
        status = training.status(alive=alive)
        version = f"{_FORMAT}-{training.fingerprint}-{status}"
        run = store.find(RUN_KEY_TAG, training.run_key)
        if run is not None and run.data.tags.get(_INGESTED_TAG) == version:
            return run
        points = training_points(training, alive=alive)
        if run is not None and self._log(store, run).contradicted(points):
            # Some step came out otherwise when it was replayed (the profile `fast` allows that).
            # MLflow cannot take a value back, so the run is written anew.
            delete_with_attempts(store, run)
            run = None
        if run is None:
            run = _create(store, training)
        log = self._log(store, run)
        _set_params(store, run, training)
        log.append(log.missing(points))
        set_status(store, run, status, training.ended_ms())
        ingest_attempts(store, run, training, alive=alive)
        set_tags(store, run, {**_tags(training), _INGESTED_TAG: version})
        return store.client.get_run(run.info.run_id)

    def _log(self, store: Store, run: "Run") -> MetricLog:
        run_id = run.info.run_id
        if run_id not in self.logs:
            self.logs[run_id] = MetricLog(store.client, run_id)
        return self.logs[run_id]


def _create(store: Store, training: Training) -> "Run":
    commit = training.commit
    tags = {
        RUN_KEY_TAG: training.run_key,
        "mlflow.source.name": "minilingua train",
        "mlflow.source.type": "JOB",
        **({"mlflow.source.git.commit": commit} if commit else {}),
    }
    return store.client.create_run(
        store.experiment_id,
        start_time=training.began_ms,
        tags=tags,
        run_name=f"{training.experiment}-{training.run_key[:8]}",
    )


def _set_params(store: Store, run: "Run", training: Training) -> None:
    """Logs what is missing: MLflow lets no parameter change, and the run key fixes train's."""
    from mlflow.entities import Param

    missing = [
        Param(key, value[:_LONGEST_PARAM])
        for key, value in flatten(training.params)
        if key not in run.data.params
    ]
    for begin in range(0, len(missing), _PARAMS_AT_ONCE):
        store.client.log_batch(run.info.run_id, params=missing[begin : begin + _PARAMS_AT_ONCE])


def flatten(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields ``section.key`` and the value as text; lists stay one value."""
    for key, value in params.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _tags(training: Training) -> dict[str, str]:
    params = training.params
    tags = {
        "minilingua.experiment": training.experiment,
        "minilingua.attempts": str(training.attempts),
    }
    for tag, section in (("minilingua.mixture", "mixture"), ("minilingua.model", "model")):
        if isinstance(named := params.get(section), dict) and "name" in named:
            tags[tag] = str(named["name"])
    summary = [f"Fine-tuning `{training.experiment}`, run key `{training.run_key}`."]
    if decision := training.decision:
        tags["minilingua.best_step"] = str(decision.best_step)
        tags["minilingua.best_validation_loss"] = f"{decision.best_loss:.6f}"
        tags["minilingua.early_stopping.verdict"] = decision.verdict
        tags["minilingua.early_stopping.reason"] = decision.reason
        summary.append(
            f"Best validation loss **{decision.best_loss:.4f}** after step {decision.best_step}."
        )
        summary.append(f"Early stopping: {decision.reason}")
    if end := training.end:
        tags["minilingua.stop_reason"] = end.reason
        summary.append(f"Ended after step {end.step}: `{end.reason}`.")
    tags["mlflow.note.content"] = "\n\n".join(summary)
    return tags
