"""The attempts at a training as child runs of its run: what became of each, when and where.

Figures are the parent's: a step belongs to the training, whichever attempt trained it. A child
tells by its tags and its status, which, unlike metrics, may change while it is alive.
"""

from typing import TYPE_CHECKING

from minilingua.provenance.attempts import Attempt, read_attempts
from minilingua.provenance.training_record import Training
from minilingua.tracking.store import PARENT_TAG, Store, set_status, set_tags

if TYPE_CHECKING:
    from mlflow.entities import Run

_NUMBER_TAG = "minilingua.attempt"
_MOST = 1000
"""Children that one request returns."""


def ingest_attempts(store: Store, run: "Run", training: Training, *, alive: bool) -> None:
    """Brings the child runs of a training's run up to date.

    Args:
        store: the store, locked for us.
        run: the training's run.
        training: what is on disk.
        alive: a process trains it now.
    """
    known = {child.data.tags.get(_NUMBER_TAG): child for child in children(store, run)}
    for attempt in read_attempts(training, alive=alive):
        child = known.get(str(attempt.number)) or _create(store, run, attempt)
        set_status(store, child, attempt.status, attempt.ended_ms)
        set_tags(store, child, _tags(attempt))


def children(store: Store, run: "Run") -> "list[Run]":
    """Returns the child runs of a run."""
    return list(
        store.client.search_runs(
            [store.experiment_id],
            filter_string=f"tags.`{PARENT_TAG}` = '{run.info.run_id}'",
            max_results=_MOST,
        )
    )


def delete_with_attempts(store: Store, run: "Run") -> None:
    """Deletes a run and its children."""
    for child in children(store, run):
        store.client.delete_run(child.info.run_id)
    store.client.delete_run(run.info.run_id)


def _create(store: Store, run: "Run", attempt: Attempt) -> "Run":
    tags = {
        PARENT_TAG: run.info.run_id,
        _NUMBER_TAG: str(attempt.number),
        "mlflow.source.name": "train",
        "mlflow.source.type": "JOB",
    }
    return store.client.create_run(
        store.experiment_id,
        start_time=attempt.began_ms,
        tags=tags,
        run_name=f"attempt {attempt.number}",
    )


def _tags(attempt: Attempt) -> dict[str, str]:
    first, last = attempt.steps or (None, None)
    tags = {
        "minilingua.attempt.outcome": attempt.outcome,
        "minilingua.attempt.first_step": first,
        "minilingua.attempt.last_step": last,
        "minilingua.attempt.host": attempt.host,
        "minilingua.attempt.job": attempt.job,
        "minilingua.attempt.device": attempt.device,
        "mlflow.note.content": attempt.explain(),
    }
    return {key: str(value) for key, value in tags.items() if value is not None}
