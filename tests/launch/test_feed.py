from pathlib import Path

import pytest

from minilingua.launch import feed, follower
from minilingua.launch.feed import feed_after_stage
from minilingua.launch.follower import start_follower


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINILINGUA_TRACKING", raising=False)
    return tmp_path


def refuse_every_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is not even imported for this, so it is quick."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./a-directory")


def test_a_store_that_fails_is_one_line_and_no_failure(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    refuse_every_store(monkeypatch)
    feed_after_stage("evaluate")
    told = capfd.readouterr()
    assert told.out == ""
    assert told.err.startswith("minilingua: warning: MLflow not updated: ")
    assert "names a directory" in told.err
    assert told.err.count("\n") == 1
    assert not (root / "mlruns/mlflow.db").exists()


def test_an_update_that_hangs_is_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert root.exists()
    monkeypatch.setattr(feed, "_TIME_OUT", 0.05)
    feed_after_stage("evaluate")
    assert "no end after 0.05 s" in capfd.readouterr().err


def test_it_can_be_switched_off(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINILINGUA_TRACKING", "off")
    feed_after_stage("evaluate")
    start_follower(1)
    assert not (root / "mlruns").exists()


def test_what_cannot_be_started_is_one_line(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (root / "mlruns").write_text("a file where the directory should be")
    follower.start_detached(follower.track_command())
    error = capfd.readouterr().err
    assert error.startswith("minilingua: warning: MLflow not updated: cannot start")
    assert error.count("\n") == 1
