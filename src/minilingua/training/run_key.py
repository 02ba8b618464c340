"""The run key: one name for everything that decides what a training computes.

It is a hash of what DVC compares before it runs the stage: the contents of the stage's ``deps`` and
the values of its ``params``, both as dvc.yaml lists them. Times, hosts and the layout of the ranks
(``train.parallel``) are not in it: a training goes on in another layout.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from minilingua.core.errors import ParamsError
from minilingua.core.files import canonical_json, require, tree_digest
from minilingua.params import Params

DVC_FILE = Path("dvc.yaml")
STAGE = "train"
_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """What a run key stands for."""

    key: str
    """16 hexadecimal digits."""
    inputs: dict[str, str]
    """Path of each dependency ─► digest of its contents."""


def identify_run(params: Params, dvc_file: Path = DVC_FILE, stage: str = STAGE) -> RunIdentity:
    """Returns the identity of what a stage, by default the training, computes from what is here.

    Raises:
        MissingInputError: dvc.yaml or a dependency is missing.
        ParamsError: dvc.yaml has no such stage, or the stage names a parameter that is not there.
    """
    description = _read_stage(dvc_file, stage)
    inputs = {
        path: tree_digest(require(Path(path), made_by="dvc repro"))
        for path in sorted(description.get("deps", []))
    }
    tree = params.model_dump(mode="json")
    del tree["train"]["parallel"]
    values = {
        name: _look_up(tree, name, dvc_file, stage)
        for name in sorted(description.get("params", []))
    }
    text = canonical_json({"inputs": inputs, "params": values})
    key = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    return RunIdentity(key=key, inputs=inputs)


def _read_stage(dvc_file: Path, name: str) -> dict[str, Any]:
    require(dvc_file)
    try:
        raw = YAML(typ="safe", pure=True).load(dvc_file.read_text(encoding="utf-8"))
        stage: dict[str, Any] = raw["stages"][name]
    except (YAMLError, KeyError, TypeError) as error:
        raise ParamsError(f"{dvc_file}: has no stage {name!r} that can be read") from error
    return stage


def _look_up(tree: Any, name: str, dvc_file: Path, stage: str) -> Any:
    for part in name.split("."):
        if not isinstance(tree, dict) or part not in tree:
            raise ParamsError(f"{dvc_file}: stage {stage!r} names the unknown parameter {name!r}")
        tree = tree[part]
    return tree
