"""The export as a registered model, so that it is found by name and not by run.

candidate   the newest version
best        of the versions trained on the same data as the newest: the lowest validation loss
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from minilingua.provenance.training_record import Training
from minilingua.tracking.store import RUN_KEY_TAG, Store

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

CANDIDATE, BEST = "candidate", "best"
_DIGEST_TAG = "minilingua.model_sha256"
_LOSS_TAG = "minilingua.validation_loss"
_DATA_TAG = "minilingua.data"
_KEPT_TAG = "minilingua.kept"
_MISSING = "RESOURCE_DOES_NOT_EXIST"
_MOST = 1000
"""Versions that one request returns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """What is registered."""

    digest: str
    """Of the artifact; another one makes another version, in place of the one whose files it has
    replaced."""
    artifact: str
    """Path of the Hugging Face model among the run's artifacts."""
    kept: str
    """``copy`` or ``reference``."""
    data: str
    """Digest of the tokens that it was trained and validated on: losses on others are no match."""


def register(store: Store, run: "Run", training: Training, export: Export) -> None:
    """Registers an export as a new version, unless it is one already, and sets the aliases.

    Args:
        store: the store, locked for us.
        run: the run that holds the artifact.
        training: names the registered model by its experiment.
        export: what the artifact is.
    """
    client = store.client
    model = f"minilingua-{training.experiment}"
    _ensure_model(store, model)
    run_id = run.info.run_id
    versions = _versions(store, model)
    ours = [version for version in versions if version.run_id == run_id]
    made = next((v for v in ours if v.tags.get(_DIGEST_TAG) == export.digest), None)
    tags = {
        _DIGEST_TAG: export.digest,
        RUN_KEY_TAG: training.run_key,
        _DATA_TAG: export.data,
        _KEPT_TAG: export.kept,
        **({_LOSS_TAG: repr(training.end.best_loss)} if training.end else {}),
    }
    if made is None:
        source = f"{run.info.artifact_uri}/{export.artifact}"
        made = client.create_model_version(model, source, run_id=run_id, tags=tags)
        client.set_registered_model_alias(model, CANDIDATE, made.version)
        for version in ours:
            client.delete_model_version(model, version.version)
        versions = _versions(store, model)
    else:
        for name, value in tags.items():
            if made.tags.get(name) != value:  # of a store from before there was this tag
                client.set_model_version_tag(model, made.version, name, value)
                made.tags[name] = value
    best = _best(versions, export.data)
    if best is not None and BEST not in best.aliases:
        client.set_registered_model_alias(model, BEST, best.version)


def _versions(store: Store, model: str) -> "list[ModelVersion]":
    """Returns the versions of a model with their aliases, which a search leaves out."""
    found = store.client.search_model_versions(f"name='{model}'", max_results=_MOST)
    return [store.client.get_model_version(model, version.version) for version in found]


def _best(versions: "Iterable[ModelVersion]", data: str) -> "ModelVersion | None":
    """Returns the version with the lowest loss on some data, the oldest of equals."""
    comparable = [v for v in versions if v.tags.get(_DATA_TAG) == data and _LOSS_TAG in v.tags]
    return min(comparable, key=lambda v: (float(v.tags[_LOSS_TAG]), int(v.version)), default=None)


def _ensure_model(store: Store, model: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        store.client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code != _MISSING:
            raise
        text = "Fine-tuned by MiniLingua; each version is the export of one training."
        store.client.create_registered_model(model, description=text)
