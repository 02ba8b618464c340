"""Which files on disk descend from one another, as far as dvc.lock tells.

While a line runs again, `models/hf` and the evaluation are still those of the training before.
Nothing of them may be told of the new one.

    stage.deps[path].md5 == producer.outs[path].md5     the stage has seen what its producer made
    producer.outs[path].md5 == md5 of path on disk      and that is what lies here
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from minilingua.core.errors import DataError
from minilingua.core.files import tree_files

DVC_LOCK = Path("dvc.lock")
MODEL = Path("models/hf")
EVALUATION = Path("reports/evaluation.json")
EVALUATION_DETAILS = Path("reports/evaluation")
"""Items, answers and the comparison of base and result, written with it."""
COMPARED = Path("reports/compare")
"""Comparisons with other runs, a directory each, no output of a stage."""
SIDES = "sides.json"
"""In each of them: what was compared."""
REPORTS = Path("reports/train")

_STAGES_THAT_RENEW = {"model": ("convert", "evaluate"), "evaluation": ("evaluate",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """What DVC has recorded, and which stage has just ended without being recorded yet."""

    stages: dict[str, Any] | None
    """``stages`` of dvc.lock; None without that file: then what lies here is taken as one line."""
    after: str | None = None
    """DVC writes a stage down only when its command has returned; this one is about to."""

    def training_is_recorded(self) -> bool:
        """Tells whether ``reports/train`` is what DVC recorded of the stage ``train``."""
        return self._is_on_disk("train", REPORTS)

    def data_is_current(self) -> bool:
        """Tells whether ``data/`` is what the training of ``reports/train`` was trained on."""
        return self._has_seen_its_inputs("train") and self.training_is_recorded()

    def model_is_current(self) -> bool:
        """Tells whether ``models/hf`` is the export of the training of ``reports/train``."""
        if self.after in _STAGES_THAT_RENEW["model"]:
            return True
        return (
            self._has_seen_its_inputs("convert")
            and self.training_is_recorded()
            and self._is_on_disk("convert", MODEL)
        )

    def evaluation_is_current(self) -> bool:
        """Tells whether ``reports/evaluation.json`` is of the export of this training."""
        if self.after in _STAGES_THAT_RENEW["evaluation"]:
            return True
        return (
            self._has_seen_its_inputs("evaluate")
            and self.training_is_recorded()
            and self._is_on_disk("evaluate", EVALUATION)
        )

    def check(self) -> None:
        """Makes sure that training, export and evaluation on disk are of one line.

        Raises:
            DataError: they are not; the message says which is another's.
        """
        if not self.model_is_current():
            raise DataError(
                f"{MODEL} is not the export of the training in {REPORTS}; run `dvc repro`"
            )
        if not self.evaluation_is_current():
            raise DataError(f"{EVALUATION} is not the evaluation of {MODEL}; run `dvc repro`")
        for stage, path in ((s, Path(p)) for s in self.stages or {} for p in self._reports(s)):
            if path.exists() and not self._is_on_disk(stage, path):
                raise DataError(f"{path} is not what the stage {stage} made; run `dvc repro`")

    def _reports(self, stage: str) -> list[str]:
        return [path for path in self.recorded(stage, "outs") if path.startswith("reports/")]

    def recorded(self, stage: str, side: Literal["deps", "outs"]) -> dict[str, str]:
        """Returns path ─► md5 of what a stage has read or made."""
        entries = (self.stages or {}).get(stage, {}).get(side, ())
        return {entry["path"]: str(entry.get("md5")) for entry in entries}

    def changed_code(self) -> list[str]:
        """Returns the files that a stage has read and that are others, or gone, now.

        The code that lies here did not make what lies here then, and nobody can say what it would.
        The stage that has just ended read what is here, whatever was recorded of it before.
        """
        stages = {n: stage for n, stage in (self.stages or {}).items() if n != self.after}
        made = {out["path"] for stage in stages.values() for out in stage.get("outs", ())}
        read = {
            (entry["path"], entry.get("md5"))
            for stage in stages.values()
            for entry in stage.get("deps", ())
            if entry["path"] not in made
        }
        return sorted(
            {name for name, md5 in read if not Path(name).exists() or dvc_md5(Path(name)) != md5}
        )

    def resolved_params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Returns parameters with those with which each stage ran in place of a training's.

        A training notes all parameters when it begins; the stages after it may have run again.
        """
        resolved = dict(params)
        for name, stage in (self.stages or {}).items():
            if name != self.after:
                for values in stage.get("params", {}).values():
                    resolved |= values
        return resolved

    def _has_seen_its_inputs(self, stage: str) -> bool:
        if self.stages is None:
            return True
        if stage not in self.stages:
            return False
        made = {
            entry["path"]: (producer, entry.get("md5"))
            for producer, recorded in self.stages.items()
            for entry in recorded.get("outs", ())
        }
        for entry in self.stages[stage].get("deps", ()):
            producer, digest = made.get(entry["path"], (None, None))
            if producer is None:
                continue  # code, or a file of the repository
            if entry.get("md5") != digest or not self._has_seen_its_inputs(producer):
                return False
        return True

    def _is_on_disk(self, stage: str, path: Path) -> bool:
        if self.stages is None:
            return path.exists()
        outs = self.stages.get(stage, {}).get("outs", ())
        recorded = [entry.get("md5") for entry in outs if entry["path"] == path.as_posix()]
        return path.exists() and recorded == [dvc_md5(path)]


def read_lineage(after: str | None = None) -> Lineage:
    """Reads dvc.lock.

    Raises:
        DataError: it is not a lock file.
    """
    if not DVC_LOCK.exists():
        return Lineage(stages=None, after=after)
    try:
        raw = YAML(typ="safe", pure=True).load(DVC_LOCK.read_text(encoding="utf-8"))
        return Lineage(stages=dict(raw["stages"]), after=after)
    except (YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError(
            f"{DVC_LOCK}: not a lock file of DVC; `git checkout` restores it"
        ) from error


def dvc_md5(path: Path) -> str:
    """Returns DVC's hash of a file or directory (md5, as in its cache; not a security measure)."""
    if path.is_file():
        return _file_md5(path)
    listing = [
        {"md5": _file_md5(file), "relpath": file.relative_to(path).as_posix()}
        for file in tree_files(path)
    ]
    listing.sort(key=lambda entry: entry["relpath"])
    text = json.dumps(listing, sort_keys=True).encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest() + ".dir"


def _file_md5(path: Path) -> str:
    with path.open("rb") as stream:  # weights are larger than memory should be
        return hashlib.file_digest(stream, _md5).hexdigest()


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)
