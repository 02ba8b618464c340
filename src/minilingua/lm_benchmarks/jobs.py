"""What is to be computed: units of models, and everything that their figures depend on."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minilingua.core.files import canonical_json, require, sha256_file, tree_digest
from minilingua.core.records import ModelName
from minilingua.core.seeding import content_id
from minilingua.lm_benchmarks.benchmarks import BENCHMARKS
from minilingua.lm_benchmarks.units import Unit
from minilingua.params import Params

KEPT = Path("runs/benchmarks")
TOKENIZER = Path("models/tokenizer")
MODELS: dict[ModelName, tuple[Path, str]] = {
    "base": (Path("models/base"), "minilingua base"),
    "result": (Path("models/hf"), "minilingua convert"),
}
"""Name ─► directory, and the command that makes it."""
_PACKAGE = Path(__file__).parent
_CODE = (_PACKAGE, _PACKAGE.parent / "evaluation", _PACKAGE.parent / "mcqa/templates")

Digests = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A unit of one model."""

    model: ModelName
    unit: Unit
    depends_on: dict[str, Any]

    @property
    def path(self) -> Path:
        """Where its outcome is kept."""
        return KEPT / f"{content_id(canonical_json(self.depends_on))}.json"


def digests_of(models: Sequence[ModelName], units: Sequence[Unit], mirror: Path) -> Digests:
    """Returns what the figures are of: models and files ─► SHA-256; all are known to be there."""
    files = sorted(
        {
            path
            for unit in units
            for path in BENCHMARKS[unit.task.benchmark].paths(mirror, unit.language)
        }
    )
    require(TOKENIZER / "tokenizer.json", "minilingua tokenizer")
    for name in models:
        path, made_by = MODELS[name]
        require(path / "config.json", made_by)
    return {
        "models": {name: tree_digest(MODELS[name][0]) for name in models},
        "tokenizer": {"models/tokenizer": tree_digest(TOKENIZER)},
        "files": {path.relative_to(mirror).as_posix(): sha256_file(path) for path in files},
    }


def jobs_of(
    params: Params,
    models: Sequence[ModelName],
    units: Sequence[Unit],
    digests: Digests,
    arguments: argparse.Namespace,
) -> list[Job]:
    """Returns all there is to do, what is kept already included."""
    from minilingua.lm_benchmarks.harness import installed_versions

    common = {
        "code": [tree_digest(path) for path in _CODE],
        "versions": installed_versions(),
        "tokenizer": digests["tokenizer"],
        "seed": params.seed,
        "limit": arguments.limit,
        "batch_size": arguments.batch_size,
        "device": arguments.device,
    }
    return [
        Job(
            model=model,
            unit=unit,
            depends_on={
                **common,
                "model": digests["models"][model],
                "unit": unit.label,
                "shots": shots_of(unit, arguments.shots),
                "files": [
                    digests["files"][path.relative_to(arguments.mirror).as_posix()]
                    for path in BENCHMARKS[unit.task.benchmark].paths(
                        arguments.mirror, unit.language
                    )
                ],
            },
        )
        for model in models
        for unit in units
    ]


def shots_of(unit: Unit, wanted: int | None) -> int:
    """Returns how many worked examples a unit is asked with."""
    return unit.task.shots if wanted is None or unit.task.is_chat else wanted
