"""What lies on disk and belongs to the training of ``reports/train/``, as artifacts of its run."""

from pathlib import Path
from typing import TYPE_CHECKING

from minilingua.core.files import sha256_file, tree_files
from minilingua.provenance.lineage import DVC_LOCK, EVALUATION, EVALUATION_DETAILS, Lineage
from minilingua.provenance.passport import LEDGER, MODEL, collect_passport
from minilingua.provenance.scores import read_scores
from minilingua.provenance.training_record import EVENTS, REPORTS, Training
from minilingua.tracking.artifacts import Artifacts
from minilingua.tracking.datasets import log_datasets
from minilingua.tracking.ingest import set_tags
from minilingua.tracking.metric_log import MetricLog
from minilingua.tracking.metrics import evaluation_points
from minilingua.tracking.registry import register
from minilingua.tracking.store import EVENTS_TAG, Store

if TYPE_CHECKING:
    from mlflow.entities import Run

DATA_FILES = (
    Path("data/raw/manifest.json"),
    Path("data/mcqa/manifest.json"),
    Path("data/conversations/manifest.json"),
    Path("data/tokens/manifest.json"),
    Path("data/tokens/token_counts.csv"),
    Path("data/plan/plan.json"),
    LEDGER,
    Path("reports/mixture_sources.csv"),
    Path("reports/mixture.png"),
)
PAGES = (Path("reports/index.html"), Path("reports/preview.html"))
"""What `minilingua report` and `minilingua preview` write, where they ran."""


def publish(store: Store, run: "Run", training: Training, lineage: Lineage) -> list[str]:
    """Uploads what has changed; returns a line for everything that is not of this training."""
    skipped = []
    artifacts = Artifacts(store, run)
    set_tags(store, run, {EVENTS_TAG: sha256_file(EVENTS)})
    artifacts.upload(REPORTS, "training")
    artifacts.upload_json(training.params, "params.json")
    if lineage.data_is_current():
        for path in DATA_FILES:
            if path.exists():
                artifacts.upload(path, path.as_posix())
        log_datasets(store, run)
    else:
        skipped.append("data/ is not what reports/train was trained on")
    if MODEL.exists() and lineage.model_is_current():
        artifacts.upload(MODEL, "model")
        register(store, run, training, artifacts.digests["model"], "model")
    elif MODEL.exists():
        skipped.append(f"{MODEL} is not the export of this training")
    if EVALUATION.exists() and lineage.evaluation_is_current():
        _publish_evaluation(store, run, training, artifacts)
        if MODEL.exists():
            artifacts.upload_json(collect_passport(training), "passport.json")
    elif EVALUATION.exists():
        skipped.append(f"{EVALUATION} is not of this training's model")
    return skipped


def _publish_evaluation(store: Store, run: "Run", training: Training, artifacts: Artifacts) -> None:
    scores = read_scores()
    log = MetricLog(store.client, run.info.run_id)
    log.append(log.renewed(evaluation_points(scores, time_ms=training.ended_ms())))
    artifacts.upload_table(scores, "evaluation/scores.json")
    artifacts.upload(EVALUATION, "evaluation/evaluation.json")
    for path in (DVC_LOCK, *PAGES):
        if path.exists():
            artifacts.upload(path, path.as_posix())
    for file in tree_files(EVALUATION_DETAILS) if EVALUATION_DETAILS.exists() else ():
        artifacts.upload(file, f"evaluation/{file.name}")
