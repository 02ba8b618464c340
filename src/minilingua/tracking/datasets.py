"""The data of a training as MLflow data sets, with our digests: raw sources and splits."""

from pathlib import Path
from typing import TYPE_CHECKING

from minilingua.core.files import canonical_json, tree_digest
from minilingua.core.records import SPLITS
from minilingua.provenance.data_record import MANIFEST, read_sources
from minilingua.tracking.store import Store

if TYPE_CHECKING:
    from mlflow.entities import Dataset, DatasetInput, Run

CONVERSATIONS = Path("data/conversations")
_DIGEST_LENGTH = 16
_CONTEXT = {"train": "training", "validation": "validation", "test": "testing"}


def log_datasets(store: Store, run: "Run") -> None:
    """Records what the run was trained on; the same digests again add nothing."""
    inputs = []
    if MANIFEST.exists():
        for source in read_sources():
            where = {"path": f"data/raw/{source.name}", "hub": " ".join(source.hub)}
            profile: dict[str, object] = {
                "licence": source.licence,
                "rows": source.rows,
                "title": source.title,
            }
            dataset = _dataset(source.name, source.digest, where, profile)
            inputs.append(_input(dataset, "source"))
    for split in SPLITS:
        path = CONVERSATIONS / split
        if path.exists():
            digest = tree_digest(path)[:_DIGEST_LENGTH]
            counts: dict[str, object] = {"files": len(list(path.glob("*.jsonl")))}
            dataset = _dataset(f"conversations/{split}", digest, {"path": str(path)}, counts)
            inputs.append(_input(dataset, _CONTEXT[split]))
    if inputs:
        store.client.log_inputs(run.info.run_id, datasets=inputs)


def _dataset(
    name: str, digest: str, source: dict[str, str], profile: dict[str, object]
) -> "Dataset":
    from mlflow.entities import Dataset

    return Dataset(
        name=name,
        digest=digest,
        source_type="local",
        source=canonical_json(source),
        profile=canonical_json(profile),
    )


def _input(dataset: "Dataset", context: str) -> "DatasetInput":
    from mlflow.entities import DatasetInput, InputTag

    return DatasetInput(dataset, [InputTag("mlflow.data.context", context)])
