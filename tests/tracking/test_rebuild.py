"""The store is a view: it can be made anew, and moved."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from minilingua.cli import main
from minilingua.core.errors import DataError
from minilingua.tracking import sync
from minilingua.tracking.rebuild import BEFORE
from tests.tracking.workspace import COMMIT, Workspace


def track(*flags: str) -> None:
    """In a process of its own: MLflow remembers the stores that it has opened."""
    command = [sys.executable, "-m", "minilingua", "track", "--quiet", *flags]
    subprocess.run(command, check=True)


def test_a_store_made_from_nothing_is_the_same(workspace: Workspace) -> None:
    workspace.whole_line()
    track()
    expected, artifacts = workspace.dump(), workspace.artifacts()
    assert ("mlflow.source.git.commit", COMMIT) in expected["tags"]
    track("--rebuild")
    assert workspace.dump() == expected
    assert workspace.artifacts() >= artifacts
    assert (BEFORE / "mlflow.db").exists()
    shutil.rmtree("mlruns")
    track()
    assert workspace.dump() == expected
    assert workspace.artifacts() == artifacts


def test_a_rebuild_that_fails_leaves_the_store(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.whole_line()
    main(["track", "--quiet"])
    expected, artifacts = workspace.dump(), workspace.artifacts()

    def fail(*_: object) -> None:
        raise DataError("reports/x: broken")

    monkeypatch.setattr(sync, "read_run", fail)
    assert main(["track", "--quiet", "--rebuild"]) == 2
    assert "reports/x: broken" in capsys.readouterr().err
    assert workspace.dump() == expected
    assert workspace.artifacts() == artifacts
    assert not BEFORE.exists()


def test_a_server_is_not_rebuilt(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert main(["track", "--rebuild"]) == 2
    assert "names another one" in capsys.readouterr().err
    assert workspace.root.exists()


def test_a_moved_repository_is_relocated(
    new_workspace: Callable[[], Workspace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from mlflow import MlflowClient

    first = new_workspace()
    first.whole_line()
    main(["track", "--quiet"])
    moved = Workspace(root=tmp_path / "moved here")
    first.root.rename(moved.root)
    monkeypatch.chdir(moved.root)
    assert main(["track", "--quiet"]) == 2
    assert "`minilingua relocate` makes it find" in capsys.readouterr().err
    assert main(["relocate"]) == 0
    assert f"{moved.root}/mlruns now" in capsys.readouterr().out
    assert main(["track", "--quiet"]) == 0
    client = MlflowClient(tracking_uri=f"sqlite:///{moved.root}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("minilingua")
    assert experiment is not None
    ours = "tags.`minilingua.run_key` != 'none'"
    (run,) = client.search_runs([experiment.experiment_id], filter_string=ours)
    assert [artifact.path for artifact in client.list_artifacts(run.info.run_id, "model")]
    (version,) = client.search_model_versions()
    assert version.source is not None
    assert Path(version.source).is_dir()
    assert main(["relocate"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_without_a_store_there_is_nothing_to_relocate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["relocate"]) == 2
    assert "mlruns/mlflow.db is missing" in capsys.readouterr().err
