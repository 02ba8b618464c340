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
from minilingua.tracking.store import Store, set_tags

if TYPE_CHECKING:
    from mlflow.entities import Run

_DIGESTS_TAG = "minilingua.artifacts"
_DIGITS = 16
_TABLES_TAG = "mlflow.loggedArtifacts"
"""By this tag the UI knows which artifacts it can show as tables over several runs."""


class Artifacts:
    """The artifacts of one run; a tag of the run holds their digests."""

    def __init__(self, store: Store, run: "Run") -> None:
        self._store = store
        self._run = run
        self.digests: dict[str, str] = json.loads(run.data.tags.get(_DIGESTS_TAG, "{}"))
        """Artifact ─► first digits of the SHA-256 of what was uploaded."""

    def upload(self, path: Path, name: str) -> None:
        """Uploads a file or directory as artifact ``name`` where that is not done already.

        A directory replaces the one uploaded before: no file of it stays behind.
        """
        digest = tree_digest(path)[:_DIGITS]
        if self.digests.get(name) == digest:
            return
        client, run_id = self._store.client, self._run.info.run_id
        if path.is_dir():
            if name in self.digests:
                self._delete(name)
            client.log_artifacts(run_id, str(path), name)
        else:
            folder, _, file_name = name.rpartition("/")
            with tempfile.TemporaryDirectory() as aside:
                copy = Path(aside) / file_name
                shutil.copyfile(path, copy)
                client.log_artifact(run_id, str(copy), folder or None)
        self.digests[name] = digest
        set_tags(self._store, self._run, {_DIGESTS_TAG: canonical_json(self.digests)})

    def upload_json(self, value: Any, name: str) -> None:
        """Uploads a JSON value as artifact ``name``."""
        with tempfile.TemporaryDirectory() as aside:
            path = Path(aside) / "value.json"
            write_json(path, value)
            self.upload(path, name)

    def upload_table(self, scores: Sequence[Score], name: str) -> None:
        """Uploads scores so that the UI shows a table, comparable over runs."""
        columns = [field.name for field in fields(Score)]
        rows = [[asdict(score)[column] for column in columns] for score in scores]
        self.upload_json({"columns": columns, "data": rows}, name)
        tables = canonical_json([{"path": name, "type": "table"}])
        set_tags(self._store, self._run, {_TABLES_TAG: tables})

    def _delete(self, name: str) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(self._run.info.artifact_uri)
        repository.delete_artifacts(name)  # type: ignore[no-untyped-call]  # untyped in MLflow
