"""The export as a registered model, so that it is found by name and not by run."""

from typing import TYPE_CHECKING

from minilingua.provenance.training_record import Training
from minilingua.tracking.store import RUN_KEY_TAG, Store

if TYPE_CHECKING:
    from mlflow.entities import Run

ALIAS = "candidate"
_DIGEST_TAG = "minilingua.model_sha256"
_MISSING = "RESOURCE_DOES_NOT_EXIST"


def register(store: Store, run: "Run", training: Training, digest: str, name: str) -> None:
    """Registers artifact ``name`` of a run as a new version, unless it is one already.

    Args:
        store: the store, locked for us.
        run: the run that holds the artifact.
        training: names the registered model by its experiment.
        digest: digest of the artifact; another one makes another version, in place of the one
            whose files it has replaced.
        name: artifact path of the Hugging Face model.
    """
    client = store.client
    model = f"minilingua-{training.experiment}"
    _ensure_model(store, model)
    run_id = run.info.run_id
    versions = [v for v in client.search_model_versions(f"name='{model}'") if v.run_id == run_id]
    if any(version.tags.get(_DIGEST_TAG) == digest for version in versions):
        return
    tags = {_DIGEST_TAG: digest, RUN_KEY_TAG: training.run_key}
    source = f"{run.info.artifact_uri}/{name}"
    made = client.create_model_version(model, source, run_id=run_id, tags=tags)
    client.set_registered_model_alias(model, ALIAS, made.version)
    for version in versions:
        client.delete_model_version(model, version.version)


def _ensure_model(store: Store, model: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        store.client.get_registered_model(model)
    except MlflowException as error:
        if error.error_code != _MISSING:
            raise
        text = "Fine-tuned by MiniLingua; each version is the export of one training."
        store.client.create_registered_model(model, description=text)
