"""Sweeps as docs/cluster.md tells them: DVC's queue, and a Slurm job for each training."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.infra.parts import need, run_at
from tests.pipeline.workspace import Workspace

pytestmark = [pytest.mark.infra, pytest.mark.timeout(600)]

PLACE = {"MINILINGUA_CLUSTER": "local-test"}
PATIENCE = 300
_GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")


def test_learning_rate_and_mixture_through_the_queue(prepared: Workspace, tmp_path: Path) -> None:
    need("slurm")
    workspace = prepared.copy(tmp_path / "checkout")
    _forget_what_was_not_run(workspace)
    workspace.run(*_GIT, "commit", "--quiet", "--all", "--message", "data")
    queue = ("dvc", "exp", "run", "--queue", "--name")
    workspace.run(*queue, "lr-1e-3", "-S", "train.lr=1e-3", "train")
    workspace.run("minilingua", "configure", "experiment=smoke", "mixture=equal")
    workspace.run(*queue, "equal", "train")
    workspace.run("git", "checkout", "--quiet", "params.yaml")
    try:
        run_at(PLACE, workspace, "dvc", "queue", "start", "--jobs", "2")
        deadline = time.monotonic() + PATIENCE
        while (shown := _shown(workspace)) and not all(_has_ended(each) for each in shown.values()):
            assert time.monotonic() < deadline, workspace.run("dvc", "queue", "status").stdout
            time.sleep(1)
    finally:
        workspace.run("dvc", "queue", "stop", "--kill", check=False)
    assert shown.keys() == {"lr-1e-3", "equal"}
    params, metrics = {}, {}
    for name, each in shown.items():
        data = each["revs"][0]["data"]
        params[name] = data["params"]["params.yaml"]["data"]
        metrics[name] = data["metrics"]["reports/train/metrics.json"]["data"]
        said = workspace.run("dvc", "queue", "logs", name).stdout
        assert "submitted job" in said
        assert "ended well (1 attempt(s)" in said
    assert params["lr-1e-3"]["train"]["lr"] == 1e-3
    assert params["lr-1e-3"]["mixture"]["name"] == "natural"
    assert params["equal"]["mixture"]["name"] == "equal"
    assert params["equal"]["train"]["lr"] != 1e-3
    assert metrics["lr-1e-3"]["validation_loss"] != metrics["equal"]["validation_loss"]


def _forget_what_was_not_run(workspace: Workspace) -> None:
    """The committed lock names outputs of the sample, which DVC would look for in the cache."""
    yaml = YAML()
    path = workspace.path / "dvc.lock"
    lock: Any = yaml.load(path.read_text())
    for stage in ("train", "convert", "evaluate"):
        lock["stages"].pop(stage, None)
    yaml.dump(lock, path)


def _shown(workspace: Workspace) -> dict[str, Any]:
    (baselines,) = (json.loads(workspace.run("dvc", "exp", "show", "--json").stdout)[1:],)
    return {each["name"]: each for baseline in baselines for each in baseline["experiments"] or ()}


def _has_ended(experiment: dict[str, Any]) -> bool:
    executor = experiment.get("executor") or {}
    assert executor.get("state") != "failed", experiment
    return executor.get("state") not in {"queued", "running"}
