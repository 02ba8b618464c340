"""Files into MLflow, each only when its content is another than what was uploaded before."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minilingua.core.files import canonical_json, tree_digest, write_json
from minilingua.core.records import Score
from minilingua.tracking.ingest import set_tags
from minilingua.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Run

_DIGEST_TAG = "minilingua.sha256."
_TABLES_TAG = "mlflow.loggedArtifacts"
"""By this tag the UI knows which artifacts it can show as tables over several runs."""


def upload(store: Store, run: "Run", path: Path, name: str) -> bool:
    """Uploads a file or directory as artifact ``name``; returns whether that was needed.

    A directory replaces the one uploaded before: no file of it stays behind.
    """
    tag = f"{_DIGEST_TAG}{name}"
    digest = tree_digest(path)
    stored = run.data.tags.get(tag)
    if stored == digest:
        return False
    run_id = run.info.run_id
    if path.is_dir():
        if stored is not None:
            _delete(run, name)
        store.client.log_artifacts(run_id, str(path), name)
    else:
        folder, _, file_name = name.rpartition("/")
        with tempfile.TemporaryDirectory() as aside:
            copy = Path(aside) / file_name
            shutil.copyfile(path, copy)
            store.client.log_artifact(run_id, str(copy), folder or None)
    set_tags(store, run, {tag: digest})
    return True


def upload_json(store: Store, run: "Run", value: Any, name: str) -> None:
    """Uploads a JSON value as artifact ``name``."""
    with tempfile.TemporaryDirectory() as aside:
        path = Path(aside) / "value.json"
        write_json(path, value)
        upload(store, run, path, name)


def upload_table(store: Store, run: "Run", scores: Sequence[Score], name: str) -> None:
    """Uploads scores so that the UI shows a table, comparable over runs."""
    columns = [field.name for field in fields(Score)]
    rows = [[asdict(score)[column] for column in columns] for score in scores]
    upload_json(store, run, {"columns": columns, "data": rows}, name)
    tables = json.loads(run.data.tags.get(_TABLES_TAG, "[]"))
    if not any(table["path"] == name for table in tables):
        entry = {"path": name, "type": "table"}
        set_tags(store, run, {_TABLES_TAG: canonical_json([*tables, entry])})


def digest_of(run: "Run", name: str) -> str | None:
    """Returns the digest of what was uploaded as ``name``."""
    return run.data.tags.get(f"{_DIGEST_TAG}{name}")


def _delete(run: "Run", name: str) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(run.info.artifact_uri)
    repository.delete_artifacts(name)  # type: ignore[no-untyped-call]  # MLflow has no types here
