"""The passport of a model: everything it was made from, so that it can be explained and made again.

No times, host names or absolute paths: two machines that did the same write the same passport but
for what they are.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minilingua.core.errors import DataError
from minilingua.core.files import open_text, read_json, require, sha256_file, tree_files, write_json
from minilingua.provenance.attempts import read_attempts
from minilingua.provenance.environment import describe_environment
from minilingua.provenance.git_state import read_git_state
from minilingua.provenance.lineage import DVC_LOCK, MODEL, Lineage
from minilingua.provenance.training_record import REPORTS, Training

FORMAT_VERSION = 3
LEDGER = Path("reports/mixture.csv")
RECIPE = Path("containers/requirements.txt")
LOCKS = (RECIPE, Path("containers/image.lock"), Path("requirements.lock"), Path("sources.lock"))
SUMMARY = Path("reports/evaluation_summary.json")
_OF_A_START = ("commit", "device", "cpu", "threads", "world_size", "layout", "torch", "parameters")
_OF_A_NODE = ("cuda", "nccl", "gpus", "packages")
_OF_EITHER = ("image_digest", "driver")
"""What a job's look at its node tells, and the process that trains, where there is no job."""
_SHOWN = 3
EARLY_STOPPING = REPORTS / "early_stopping.json"


def collect_passport(training: Training, lineage: Lineage) -> dict[str, Any]:
    """Returns the passport of the model that a training ended in; JSON types only.

    Args:
        training: that training.
        lineage: what DVC has recorded of the stages.

    Raises:
        MissingInputError: an output of a stage is missing; the message names the stage.
    """
    return {
        "format_version": FORMAT_VERSION,
        "run_key": training.run_key,
        "code": asdict(read_git_state()),
        "pipeline": _pipeline(lineage),
        "params": lineage.resolved_params(training.params),
        "recipe": {"path": RECIPE.as_posix(), "sha256": _digest_if_there(RECIPE)},
        "locks": {path.as_posix(): _digest_if_there(path) for path in LOCKS},
        "environment": describe_environment(),
        "attempts": describe_attempts(training),
        "slurm_jobs": _jobs(training),
        "token_ledger": read_ledger(),
        "early_stopping": read_json(EARLY_STOPPING, made_by="minilingua train"),
        "evaluation": read_json(SUMMARY, made_by="minilingua evaluate"),
        "model": {
            file.relative_to(MODEL).as_posix(): sha256_file(file)
            for file in tree_files(require(MODEL, made_by="minilingua convert"))
        },
    }


def write_passport(path: Path, passport: Mapping[str, Any]) -> str:
    """Writes a passport and returns its SHA-256."""
    write_json(path, passport)
    return sha256_file(path)


def check_code(lineage: Lineage) -> None:
    """Makes sure that a passport names the code that made what lies here.

    Raises:
        DataError: a file that a stage has read is another one now.
    """
    changed = lineage.changed_code()
    if changed:
        more = f" and {len(changed) - _SHOWN} more" if len(changed) > _SHOWN else ""
        raise DataError(
            f"{', '.join(changed[:_SHOWN])}{more}: changed since a stage read it, so the code here "
            "is not what made the model; run `dvc repro`"
        )


def describe_attempts(training: Training) -> list[dict[str, Any]]:
    """Returns what each process that trained did and ran on; not which machine, nor when."""
    by_kind = {
        kind: {int(r.get("attempt", 1)): r for r in training.telemetry if r.get("kind") == kind}
        for kind in ("start", "preflight")
    }
    described = []
    for attempt in read_attempts(training, alive=False):
        start, node = (by_kind[kind].get(attempt.number, {}) for kind in ("start", "preflight"))
        first, last = attempt.steps or (None, None)
        told: dict[str, Any] = {
            "attempt": attempt.number,
            "outcome": attempt.outcome,
            "first_step": first,
            "last_step": last,
            "slurm_job": attempt.job,
            **{name: start.get(name) for name in _OF_A_START},
            **{name: _parsed(node.get(name)) for name in _OF_A_NODE},
            **{name: node.get(name) or start.get(name) for name in _OF_EITHER},
        }
        described.append({name: value for name, value in told.items() if value is not None})
    return described


def _parsed(value: Any) -> Any:
    """Returns a list or mapping that the telemetry holds as text."""
    return json.loads(value) if isinstance(value, str) and value[:1] in {"[", "{"} else value


def read_ledger() -> list[dict[str, str]]:
    """Returns the rows of the token ledger.

    Raises:
        MissingInputError: it is missing.
    """
    require(LEDGER, made_by="minilingua pack")
    with open_text(LEDGER) as stream:
        return list(csv.DictReader(stream))


def _pipeline(lineage: Lineage) -> dict[str, Any]:
    """Hashes of dvc.lock: stage ─► deps and outs ─► path ─► md5.

    Without the stage that DVC is about to record: what stands there is of its run before.
    """
    return {
        "dvc_lock_sha256": _digest_if_there(DVC_LOCK),
        "stages": {
            stage: {
                side: {entry["path"]: entry.get("md5") for entry in recorded.get(side, ())}
                for side in ("deps", "outs")
            }
            for stage, recorded in (lineage.stages or {}).items()
            if stage != lineage.after
        },
    }


def _jobs(training: Training) -> list[dict[str, Any]]:
    """What Slurm's accounting says of the jobs; an attempt that never came to train counts, too."""
    names = ("job", "attempts", "gpu_hours")
    return [
        {name: record[name] for name in names if name in record}
        for record in training.telemetry
        if record.get("kind") == "job"
    ]


def _digest_if_there(path: Path) -> str | None:
    return sha256_file(path) if path.exists() else None
