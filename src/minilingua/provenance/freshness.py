"""Which stages are fresh, which are stale, and why: a quick look, without starting DVC.

Code and parameters are compared by content, as DVC does. Of data only presence, size and number of
files are, and what dvc.lock says of them, which takes milliseconds; `dvc status` compares their
contents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from minilingua.core.errors import DataError
from minilingua.core.files import require, tree_files
from minilingua.provenance.lineage import dvc_md5, read_lineage

DVC_FILE = Path("dvc.yaml")
_SHOWN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatus:
    """One stage."""

    name: str
    reasons: tuple[str, ...]
    """Why it would run; empty: it is fresh."""


def read_freshness(params: Mapping[str, Any]) -> list[StageStatus]:
    """Returns the stages in the order of dvc.yaml.

    Args:
        params: params.yaml.

    Raises:
        MissingInputError: there is no dvc.yaml.
        DataError: dvc.yaml or dvc.lock cannot be read.
    """
    recorded = read_lineage().stages or {}
    made_by = {
        path: name for name, stage in _declared().items() for path in _paths(stage.get("outs", ()))
    }
    stale: dict[str, StageStatus] = {}
    statuses = []
    digests: dict[str, str | None] = {}
    for name, stage in _in_order(_declared(), made_by):
        reasons = _reasons(stage, recorded.get(name), made_by, stale, params, digests)
        reasons += _renewed_inputs(recorded.get(name), recorded, made_by, stale)
        status = StageStatus(name=name, reasons=tuple(reasons))
        statuses.append(status)
        if reasons:
            stale[name] = status
    return statuses


def _declared() -> dict[str, Any]:
    require(DVC_FILE)
    try:
        raw = YAML(typ="safe", pure=True).load(DVC_FILE.read_text(encoding="utf-8"))
        return dict(raw["stages"])
    except (YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DataError(f"{DVC_FILE}: not a pipeline of DVC") from error


def _in_order(stages: Mapping[str, Any], made_by: Mapping[str, str]) -> list[tuple[str, Any]]:
    """Returns the stages so that each comes after those whose outputs it reads."""
    ordered: dict[str, Any] = {}

    def add(name: str) -> None:
        if name in ordered:
            return
        for path in stages[name].get("deps", ()):
            if path in made_by and made_by[path] != name:
                add(made_by[path])
        ordered[name] = stages[name]

    for name in stages:
        add(name)
    return list(ordered.items())


def _reasons(
    stage: Mapping[str, Any],
    recorded: Mapping[str, Any] | None,
    made_by: Mapping[str, str],
    stale: Mapping[str, StageStatus],
    params: Mapping[str, Any],
    digests: dict[str, str | None],
) -> list[str]:
    if recorded is None:
        return ["never ran"]
    reasons = _changed_code(stage, recorded, made_by, digests)
    values: Mapping[str, Any] = next(iter(recorded.get("params", {}).values()), {})
    for name in stage.get("params", ()):
        changed = _changed(values.get(name), _look_up(params, name), name)
        reasons += [f"parameter {one}" for one in changed]
    reasons += filter(None, map(_output_problem, recorded.get("outs", ())))
    read = dict.fromkeys(made_by[path] for path in stage.get("deps", ()) if path in made_by)
    if needed := [name for name in read if name in stale]:
        reasons.append(f"after {', '.join(needed)}")
    return reasons


def _renewed_inputs(
    stage: Mapping[str, Any] | None,
    recorded: Mapping[str, Any],
    made_by: Mapping[str, str],
    stale: Mapping[str, StageStatus],
) -> list[str]:
    """Names inputs that their stages have made anew since: `dvc repro train` stops at train."""
    made = {
        out["path"]: out.get("md5") for other in recorded.values() for out in other.get("outs", ())
    }
    renewed = [
        entry["path"]
        for entry in (stage or {}).get("deps", ())
        if entry["path"] in made_by
        and made_by[entry["path"]] not in stale
        and entry.get("md5") != made.get(entry["path"])
    ]
    return [f"made anew: {', '.join(renewed)}"] if renewed else []


def _changed_code(
    stage: Mapping[str, Any],
    recorded: Mapping[str, Any],
    made_by: Mapping[str, str],
    digests: dict[str, str | None],
) -> list[str]:
    before = {entry["path"]: entry.get("md5") for entry in recorded.get("deps", ())}
    code = [
        path
        for path in stage.get("deps", ())
        if path not in made_by and before.get(path) != _digest(path, digests)
    ]
    more = f" and {len(code) - _SHOWN} more" if len(code) > _SHOWN else ""
    return [f"changed: {', '.join(code[:_SHOWN])}{more}"] if code else []


def _digest(path: str, digests: dict[str, str | None]) -> str | None:
    if path not in digests:
        digests[path] = dvc_md5(Path(path)) if Path(path).exists() else None
    return digests[path]


def _changed(before: Any, now: Any, name: str) -> list[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        return [
            found
            for key in sorted(before.keys() | now.keys())
            for found in _changed(before.get(key), now.get(key), f"{name}.{key}")
        ]
    return [] if before == now else [f"{name}: {before} ─► {now}"]


def _look_up(tree: Any, name: str) -> Any:
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree


def _output_problem(entry: Mapping[str, Any]) -> str | None:
    path = Path(entry["path"])
    if not path.exists():
        return f"{path} is missing"
    files = tree_files(path)
    if "size" in entry and sum(file.stat().st_size for file in files) != entry["size"]:
        return f"{path} was changed"
    if "nfiles" in entry and len(files) != entry["nfiles"]:
        return f"{path} was changed"
    return None


def _paths(outs: Any) -> list[str]:
    """Returns the paths of outputs, which dvc.yaml has as texts or as one-key dictionaries."""
    return [out if isinstance(out, str) else next(iter(out)) for out in outs]
