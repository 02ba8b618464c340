"""One state of the line, wherever it is written down.

.  or another checkout      its params.yaml, dvc.lock, git and reports/train
a commit, branch or tag     params.yaml and dvc.lock as git has them
a passport or its model     passport.json
a run key                   runs/<run key>/
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.events import Event, compact, read_events
from minilingua.core.files import read_json
from minilingua.core.runs import RUNS, run_keys
from minilingua.provenance.environment import describe_environment
from minilingua.provenance.git_state import git_output, read_git_state
from minilingua.provenance.passport import describe_attempts
from minilingua.provenance.training_record import published_run, read_run

PASSPORT = "passport.json"
EVENTS = "events.jsonl"
_EVENTS = Path("reports/train/events.jsonl")
NUMERIC = ("train", "convert", "evaluate")
"""Stages that compute with floating-point numbers on whatever the machine has."""
_SHORTEST_KEY = 6
_OF_A_TRAINING = ("image_digest", "driver", "device", "world_size", "layout", "cpu", "torch")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """What dvc.lock says of a stage: path ─► md5."""

    deps: dict[str, str]
    outs: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is known of one state; what is not known is empty or None, and is not compared."""

    name: str
    """As it was asked for."""
    root: Path | None = None
    """The checkout that it is, if it is one."""
    commit: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, StageRecord] = field(default_factory=dict)
    """In the order of the line."""
    environment: dict[str, Any] = field(default_factory=dict)
    """Versions and processor; under ``training`` what the last attempt at it ran on."""
    events: tuple[Event, ...] = ()
    """Of its training, replayed steps reconciled."""
    evaluation: dict[str, Any] = field(default_factory=dict)
    """Summary of the evaluation."""


def read_state(text: str) -> State:
    """Returns the state that a text names.

    Raises:
        MissingInputError: it names none.
        DataError: it names one that cannot be read.
    """
    path = Path(text)
    if path.is_dir() and (path / PASSPORT).exists():
        return _from_passport(text, path / PASSPORT)
    if path.is_file():
        return _from_passport(text, path)
    if path.is_dir() and (path / "dvc.yaml").exists():
        return _from_checkout(text, path)
    keys = run_keys()
    runs = [key for key in keys if key.startswith(text)]
    if len(text) >= _SHORTEST_KEY and len(runs) == 1:
        return _from_run(text, RUNS / runs[0])
    commit = git_output(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{text}^{{commit}}"
    )
    if commit is not None:
        return _from_commit(text, commit.decode().strip())
    raise MissingInputError(
        f"{text}: no model with {PASSPORT}, no passport, checkout, commit, or run key here "
        f"(run keys: {', '.join(keys) or 'none'})"
    )


def stages_of_lock(text: str, where: str) -> dict[str, StageRecord]:
    """Returns what a dvc.lock says, in its order.

    Raises:
        DataError: it is no lock file.
    """
    try:
        raw = YAML(typ="safe", pure=True).load(text)
        return in_order({name: _record(stage) for name, stage in raw["stages"].items()})
    except (YAMLError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: not a lock file of DVC") from error


def _record(stage: Mapping[str, Any]) -> StageRecord:
    deps, outs = (
        {entry["path"]: str(entry.get("md5")) for entry in stage.get(side, ())}
        for side in ("deps", "outs")
    )
    return StageRecord(deps=deps, outs=outs)


def _from_checkout(name: str, root: Path) -> State:
    here = root.resolve() == Path.cwd()
    published = published_run(root)
    summary = root / "reports/evaluation_summary.json"
    return State(
        name=name,
        root=root,
        commit=read_git_state(root).commit,
        params=_yaml(_text(root / "params.yaml"), f"{root / 'params.yaml'}"),
        stages=stages_of_lock(_text(root / "dvc.lock"), f"{root / 'dvc.lock'}"),
        environment={
            **(describe_environment() if here else {}),
            **(environment_of(describe_attempts(published)) if published else {}),
        },
        events=_events(root / _EVENTS),
        evaluation=read_json(summary) if summary.exists() else {},
    )


def _from_commit(name: str, commit: str) -> State:
    files = {}
    for file in ("params.yaml", "dvc.lock"):
        found = git_output("show", f"{commit}:{file}")
        if found is None:
            raise MissingInputError(f"{name}: commit {commit[:12]} has no {file}")
        files[file] = found.decode()
    return State(
        name=name,
        commit=commit,
        params=_yaml(files["params.yaml"], f"{name}:params.yaml"),
        stages=stages_of_lock(files["dvc.lock"], f"{name}:dvc.lock"),
    )


def _from_passport(name: str, path: Path) -> State:
    passport = read_json(path)
    try:
        stages = {
            stage: StageRecord(
                deps={path: str(md5) for path, md5 in sides["deps"].items()},
                outs={path: str(md5) for path, md5 in sides["outs"].items()},
            )
            for stage, sides in passport["pipeline"]["stages"].items()
        }
        return State(
            name=name,
            commit=passport["code"]["commit"],
            params=dict(passport["params"]),
            stages=in_order(stages),
            environment={**passport["environment"], **environment_of(passport["attempts"])},
            evaluation=dict(passport["evaluation"]),
            events=_events(path.with_name(EVENTS)),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a passport ({error!r})") from error


def _from_run(name: str, directory: Path) -> State:
    training = read_run(directory)
    return State(
        name=name,
        params=training.params,
        environment=environment_of(describe_attempts(training)),
        events=training.events,
    )


def environment_of(attempts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns on what and in which image a training ran last; empty where that is not known."""
    if not attempts or "cpu" not in attempts[-1]:  # of a version that did not ask
        return {}
    return {"training": {name: attempts[-1].get(name, "none") for name in _OF_A_TRAINING}}


def in_order(stages: Mapping[str, StageRecord]) -> dict[str, StageRecord]:
    """Returns stages so that each comes after those whose outputs it reads, else by name."""
    ordered: dict[str, StageRecord] = {}
    left = dict(sorted(stages.items()))
    while left:
        made_later = {out for stage in left.values() for out in stage.outs}
        ready = [name for name, stage in left.items() if not made_later & stage.deps.keys()]
        for name in ready or list(left):
            ordered[name] = left.pop(name)
    return ordered


def _events(path: Path) -> tuple[Event, ...]:
    return tuple(compact(read_events(path))) if path.exists() else ()


def _text(path: Path) -> str:
    if not path.exists():
        raise MissingInputError(f"{path} is missing")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not text in UTF-8") from error


def _yaml(text: str, where: str) -> dict[str, Any]:
    try:
        loaded = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise DataError(f"{where}: not YAML") from error
    # Through JSON: plain types, as a passport has them.
    return dict(json.loads(json.dumps(loaded)))
