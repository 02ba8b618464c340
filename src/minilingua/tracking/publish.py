"""What lies on disk and belongs to the training of ``reports/train/``, as artifacts of its run."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minilingua.core.errors import DataError
from minilingua.core.files import sha256_file, tree_files, write_json
from minilingua.params_file import load_params
from minilingua.provenance.lineage import (
    DVC_LOCK,
    EVALUATION,
    EVALUATION_DETAILS,
    MODEL,
    Lineage,
)
from minilingua.provenance.page_mark import has_mark, mark_of_results, mark_of_tokens
from minilingua.provenance.passport import (
    LEDGER,
    check_code,
    collect_passport,
    write_passport,
)
from minilingua.provenance.scores import read_scores
from minilingua.provenance.training_record import EVENTS, REPORTS, Training
from minilingua.tracking.artifacts import Artifacts
from minilingua.tracking.datasets import log_datasets
from minilingua.tracking.metric_log import MetricLog
from minilingua.tracking.metrics import evaluation_points
from minilingua.tracking.registry import Export, register
from minilingua.tracking.store import EVENTS_TAG, Store, set_tags

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
TOKENS = "data/tokens"
RENEW = "`dvc repro` renews it"
REPORT, PREVIEW = Path("reports/index.html"), Path("reports/preview.html")
"""What `minilingua report` and `minilingua preview` write, where they ran: for this training, or
for one before."""


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
        if has_mark(PREVIEW, mark_of_tokens(lineage)):
            artifacts.upload(PREVIEW, PREVIEW.as_posix())
        log_datasets(store, run)
    else:
        skipped.append(f"data/ is not what reports/train was trained on; {RENEW}")
    has_model = MODEL.exists() and lineage.model_is_current()
    if has_model:
        _publish_model(store, run, training, lineage, artifacts)
    elif MODEL.exists():
        skipped.append(f"{MODEL} is not the export of this training; {RENEW}")
    if EVALUATION.exists() and lineage.evaluation_is_current():
        _publish_evaluation(store, run, training, artifacts)
        if has_model:
            skipped += _publish_passport(store, run, training, lineage, artifacts)
    elif EVALUATION.exists():
        skipped.append(f"{EVALUATION} is not of this training's model; {RENEW}")
    return skipped


def _publish_model(
    store: Store, run: "Run", training: Training, lineage: Lineage, artifacts: Artifacts
) -> None:
    kept = load_params().track.model
    with tempfile.TemporaryDirectory() as aside:
        path = MODEL if kept == "copy" else _reference(Path(aside) / "model", lineage)
        artifacts.upload(path, "model")
    export = Export(
        digest=artifacts.digests["model"],
        artifact="model",
        kept=kept,
        data=lineage.recorded("train", "deps").get(TOKENS, ""),
    )
    register(store, run, training, export)


def _reference(directory: Path, lineage: Lineage) -> Path:
    """Writes what is small of the export, and of the weights where and which they are."""
    weights = {}
    directory.mkdir()
    for file in tree_files(MODEL):
        name = file.relative_to(MODEL).as_posix()
        if file.suffix == ".safetensors":
            weights[name] = {"sha256": sha256_file(file), "bytes": file.stat().st_size}
        else:
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, directory / name)
    known = lineage.recorded("convert", "outs").get(MODEL.as_posix())
    about = {"path": MODEL.as_posix(), "dvc_md5": known, "weights": weights}
    write_json(directory / "reference.json", about)
    return directory


def _publish_passport(
    store: Store, run: "Run", training: Training, lineage: Lineage, artifacts: Artifacts
) -> list[str]:
    """Uploads the passport and tags the run with what it tells; returns why not, if not."""
    try:
        check_code(lineage)
    except DataError as error:
        return [f"the passport: {error}"]
    passport = collect_passport(training, lineage)
    with tempfile.TemporaryDirectory() as aside:
        path = Path(aside) / "passport.json"
        digest = write_passport(path, passport)
        artifacts.upload(path, path.name)
    set_tags(store, run, {"minilingua.passport.sha256": digest, **passport_tags(passport)})
    return []


def passport_tags(passport: Mapping[str, Any]) -> dict[str, str]:
    """Returns what a run is searched by: ``tags.`minilingua.passport.image` = '..'``."""
    last = passport["attempts"][-1] if passport["attempts"] else {}
    told = {
        "commit": passport["code"]["commit"],
        "changed_files": len(passport["code"]["changed"]),
        "patch_sha256": passport["code"]["patch_sha256"],
        "dvc_lock_sha256": passport["pipeline"]["dvc_lock_sha256"],
        "recipe_sha256": passport["recipe"]["sha256"],
        "image": last.get("image_digest"),
        "device": last.get("device"),
        "driver": last.get("driver"),
        "torch": last.get("torch"),
        "slurm_job": last.get("slurm_job"),
    }
    return {f"minilingua.passport.{k}": str(v) for k, v in told.items() if v is not None}


def _publish_evaluation(store: Store, run: "Run", training: Training, artifacts: Artifacts) -> None:
    scores = read_scores()
    log = MetricLog(store.client, run.info.run_id)
    log.append(log.renewed(evaluation_points(scores, time_ms=training.ended_ms())))
    artifacts.upload_table(scores, "evaluation/scores.json")
    artifacts.upload(EVALUATION, "evaluation/evaluation.json")
    if DVC_LOCK.exists():
        artifacts.upload(DVC_LOCK, DVC_LOCK.as_posix())
    if has_mark(REPORT, mark_of_results()):
        artifacts.upload(REPORT, REPORT.as_posix())
    for file in tree_files(EVALUATION_DETAILS) if EVALUATION_DETAILS.exists() else ():
        artifacts.upload(file, f"evaluation/{file.name}")
