"""The MLflow store: SQLite in ``mlruns/``, or whatever MLFLOW_TRACKING_URI names.

``mlflow ui`` without arguments opens ``mlflow.db`` of the current directory, which is a link to
``mlruns/mlflow.db``: all of MLflow is in one ignored directory. The file store is never used;
MLflow has given it up.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from minilingua.core.errors import TrackingError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DIRECTORY = Path("mlruns")
DATABASE = DIRECTORY / "mlflow.db"
LINK = Path("mlflow.db")
EXPERIMENT = "minilingua"
RUN_KEY_TAG = "minilingua.run_key"
EVENTS_TAG = "minilingua.events_sha256"
"""Digest of reports/train/events.jsonl: by it a training is known whose run directory is gone."""
PARENT_TAG = "mlflow.parentRunId"
"""By it MLflow nests runs."""

URI_VARIABLE = "MLFLOW_TRACKING_URI"
LOCK = DIRECTORY / "ingest.lock"
LOCK_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """An open store and our experiment in it."""

    client: "MlflowClient"
    experiment_id: str

    def find(self, tag: str, value: str) -> "Run | None":
        """Returns the one run with this value of a tag, such as ``RUN_KEY_TAG``, or None."""
        found = self.client.search_runs(
            [self.experiment_id],
            filter_string=f"tags.`{tag}` = '{value}'",
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        return found[0] if found else None


def set_tags(store: Store, run: "Run", tags: Mapping[str, str]) -> None:
    """Sets the tags that have another value or none."""
    from mlflow.entities import RunTag

    changed = [RunTag(key, tags[key]) for key in tags if run.data.tags.get(key) != tags[key]]
    if changed:
        store.client.log_batch(run.info.run_id, tags=changed)


def set_status(store: Store, run: "Run", status: str, ended_ms: int) -> None:
    """Sets what became of a run, where that is another status or end."""
    run_id = run.info.run_id
    if status == "RUNNING":
        if run.info.status != status:
            store.client.update_run(run_id, status=status)
    elif (run.info.status, run.info.end_time) != (status, ended_ms):
        store.client.set_terminated(run_id, status, ended_ms)


def embedded_store_is_used() -> bool:
    """Tells whether the store is ours in ``mlruns/`` and no other is named."""
    return not os.environ.get(URI_VARIABLE)


def store_uri() -> str:
    """Returns the address of the store.

    Raises:
        TrackingError: MLFLOW_TRACKING_URI names a file store.
    """
    uri = os.environ.get(URI_VARIABLE)
    if not uri:
        return f"sqlite:///{DATABASE.absolute()}"
    if "://" not in uri or uri.startswith("file:"):
        raise TrackingError(
            f"{URI_VARIABLE}={uri} names a directory; MLflow keeps runs in a database "
            "(sqlite:///..) or on a server (http://..)"
        )
    return uri


def embedded_root() -> Path | None:
    """Returns the directory that ``mlruns/`` was when the embedded store was made.

    None where there is no store yet, or none that can be asked.
    """
    if not DATABASE.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{DATABASE.absolute().as_uri()}?mode=ro", uri=True)) as found:
            rows = found.execute(
                "SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)
            ).fetchall()
    except sqlite3.Error:
        return None  # MLflow itself says what is wrong with it
    return Path(rows[0][0].removeprefix("file://")).parent if rows and rows[0][0] else None


@contextmanager
def locked_store(timeout: float = LOCK_SECONDS) -> Iterator[Store]:
    """Opens the store for one writer at a time, making it when missing.

    Raises:
        TrackingError: another writer keeps it for longer than ``timeout`` seconds, or MLflow
            cannot use it.
    """
    uri = store_uri()
    try:
        DIRECTORY.mkdir(exist_ok=True)
        with FileLock(LOCK, timeout=timeout), mlflow_errors(uri):
            yield _open(uri)
    except Timeout as error:
        raise TrackingError(f"{LOCK} is held by another `minilingua track`") from error
    except OSError as error:
        raise TrackingError(f"{DIRECTORY} cannot be written: {error}") from error


@contextmanager
def mlflow_errors(uri: str) -> Iterator[None]:
    """Turns MLflow's and the database's errors into one line."""
    # Usage statistics would leave the machine, and an import that is slow already gets slower.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise TrackingError(f"MLflow at {uri}: {' '.join(lines)[:300]}") from error


def _require_its_place(uri: str) -> None:
    if not uri.endswith(str(DATABASE)):
        return
    made_in = embedded_root()
    if made_in is not None and made_in != DIRECTORY.absolute():
        raise TrackingError(
            f"the store was made in {made_in} and moved here with its repository; "
            "`minilingua relocate` makes it find its artifacts again"
        )


def _open(uri: str) -> Store:
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    _require_its_place(uri)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is not None:
        identifier = experiment.experiment_id
    else:
        # Without the kind, the UI asks every visitor whether this is about prompts or training.
        kind = {"mlflow.experimentKind": "custom_model_development"}
        identifier = client.create_experiment(EXPERIMENT, tags=kind)
    if uri.endswith(str(DATABASE)) and not LINK.is_symlink() and not LINK.exists():
        LINK.symlink_to(DATABASE)
    return Store(client=client, experiment_id=identifier)
