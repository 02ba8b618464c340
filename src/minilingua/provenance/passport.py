"""The passport of a model: everything it was made from, so that it can be explained and made again.

No times, host names or absolute paths: two machines that did the same write the same passport but
for what they are.
"""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minilingua.core.files import open_text, read_json, require, sha256_file, tree_files
from minilingua.provenance.environment import describe_environment
from minilingua.provenance.git_state import read_git_state
from minilingua.provenance.lineage import DVC_LOCK, read_lineage
from minilingua.provenance.training_record import REPORTS, Training

FORMAT_VERSION = 2
MODEL = Path("models/hf")
LEDGER = Path("reports/mixture.csv")
RECIPE = Path("containers/requirements.txt")
SUMMARY = Path("reports/evaluation_summary.json")
_OF_A_NODE = ("image_digest", "driver", "cuda", "nccl", "packages")
EARLY_STOPPING = REPORTS / "early_stopping.json"


def collect_passport(training: Training) -> dict[str, Any]:
    """Returns the passport of the model that a training ended in; JSON types only.

    Raises:
        MissingInputError: an output of a stage is missing; the message names the stage.
    """
    return {
        "format_version": FORMAT_VERSION,
        "run_key": training.run_key,
        "code": asdict(read_git_state()),
        "pipeline": _pipeline(),
        "params": training.params,
        "recipe": {"path": RECIPE.as_posix(), "sha256": _digest_if_there(RECIPE)},
        "environment": describe_environment(),
        "attempts": _attempts(training),
        "token_ledger": read_ledger(),
        "early_stopping": read_json(EARLY_STOPPING, made_by="minilingua train"),
        "evaluation": read_json(SUMMARY, made_by="minilingua evaluate"),
        "model": {
            file.relative_to(MODEL).as_posix(): sha256_file(file)
            for file in tree_files(require(MODEL, made_by="minilingua convert"))
        },
    }


def read_ledger() -> list[dict[str, str]]:
    """Returns the rows of the token ledger.

    Raises:
        MissingInputError: it is missing.
    """
    require(LEDGER, made_by="minilingua pack")
    with open_text(LEDGER) as stream:
        return list(csv.DictReader(stream))


def _pipeline() -> dict[str, Any]:
    """Hashes of dvc.lock: stage ─► deps and outs ─► path ─► md5."""
    stages = read_lineage().stages or {}
    return {
        "dvc_lock_sha256": _digest_if_there(DVC_LOCK),
        "stages": {
            stage: {
                side: {entry["path"]: entry.get("md5") for entry in recorded.get(side, ())}
                for side in ("deps", "outs")
            }
            for stage, recorded in stages.items()
        },
    }


def _attempts(training: Training) -> list[dict[str, Any]]:
    """What each process that trained was; not which machine, nor when."""
    starts = [record for record in training.telemetry if record.get("kind") == "start"]
    # Of a job: what it found on its node, and the image it ran in.
    nodes = {r.get("attempt"): r for r in training.telemetry if r.get("kind") == "preflight"}
    hidden = {"kind", "time", "host", "pid"}
    return [
        {
            **{k: v for k, v in sorted(start.items()) if k not in hidden},
            **{
                k: nodes[start.get("attempt")][k]
                for k in _OF_A_NODE
                if start.get("attempt") in nodes
            },
        }
        for start in starts
    ]


def _digest_if_there(path: Path) -> str | None:
    return sha256_file(path) if path.exists() else None
