import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from minilingua.core.errors import TrackingError
from minilingua.tracking.follow import follow
from minilingua.tracking.ingest import Ingester
from minilingua.tracking.store import locked_store
from tests.tracking.test_rebuild import track
from tests.tracking.test_server import free_port, mlflow_ui
from tests.tracking.workspace import (
    STEPS,
    Workspace,
    telemetry_of,
    training_events,
)

Follower = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def worker() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for the worker: alive until it is told to end."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def follower(workspace: Workspace, worker: subprocess.Popen[bytes]) -> Iterator[Follower]:
    """Starts a follower of the worker in the workspace."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "minilingua", "track", "--quiet", "--follow"]
        command += ["--process", str(worker.pid)]
        started.append(subprocess.Popen(command, cwd=workspace.root, stderr=subprocess.PIPE))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def end(worker: subprocess.Popen[bytes]) -> None:
    worker.communicate(b"\n", timeout=60)


def _await(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_what_is_appended_arrives_and_the_follower_ends_with_the_worker(
    workspace: Workspace, worker: subprocess.Popen[bytes], follower: Follower
) -> None:
    workspace.train(run_key="0" * 16)  # an earlier training: runs/current still names it
    hour_ago = time.time() - 3600
    os.utime("runs/current", (hour_ago, hour_ago))
    process = follower()
    events = list(telemetry_of(training_events()))
    workspace.begin()
    for event, telemetry in events[:8]:
        workspace.add(event, telemetry)
    _await(lambda: len(workspace.metric("train/loss")) > 0)
    (run,) = workspace.dump()["runs"]
    assert run[:2] == ("sample-5f0c2a9b", "RUNNING")

    for event, telemetry in events[8:]:
        workspace.add(event, telemetry)
    end(worker)
    _, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (0, b"")
    (run,) = workspace.dump()["runs"]
    assert run[1] == "FINISHED"
    assert len(workspace.metric("train/loss")) == STEPS


def test_a_killed_worker_leaves_a_killed_run(
    workspace: Workspace, worker: subprocess.Popen[bytes], follower: Follower
) -> None:
    process = follower()
    workspace.begin()
    for event, telemetry in telemetry_of(training_events(6, stop=False)):
        workspace.add(event, telemetry)
    worker.send_signal(signal.SIGKILL)  # not waited for: it stays a zombie
    _, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (0, b"")
    worker.communicate()
    assert workspace.dump()["runs"][0][1] == "KILLED"


def test_a_store_that_is_down_is_tried_again(
    workspace: Workspace, worker: subprocess.Popen[bytes], follower: Follower
) -> None:
    database = workspace.root / "mlruns/mlflow.db"
    whole = database.read_bytes()
    database.write_bytes(b"damaged " * 1000)
    process = follower()
    workspace.begin()
    for event, telemetry in telemetry_of(training_events()):
        workspace.add(event, telemetry)
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    assert "not a database" in line
    assert line.endswith("trying again\n")
    database.write_bytes(whole)
    end(worker)
    process.communicate(timeout=600)
    assert process.returncode == 0
    assert len(workspace.metric("train/loss")) == STEPS


def test_a_database_that_was_deleted_is_filled_again(
    workspace: Workspace,
    worker: subprocess.Popen[bytes],
    follower: Follower,
    empty_store: Path,
) -> None:
    process = follower()
    workspace.begin()
    events = list(telemetry_of(training_events()))
    for event, telemetry in events[:8]:
        workspace.add(event, telemetry)
    _await(lambda: len(workspace.metric("train/loss")) > 0)
    database = workspace.root / "mlruns/mlflow.db"
    another = workspace.root / "another.db"
    another.write_bytes(empty_store.read_bytes())
    with locked_store():  # between two passes
        another.replace(database)
    for event, telemetry in events[8:]:
        workspace.add(event, telemetry)
    end(worker)
    _, errors = process.communicate(timeout=600)
    assert (process.returncode, errors) == (0, b"")
    assert workspace.dump()["runs"][0][1] == "FINISHED"
    assert len(workspace.metric("train/loss")) == STEPS


def test_a_database_that_is_deleted_during_a_pass_is_filled_by_a_new_process(
    workspace: Workspace, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever that pass ran into: it is no error of the database that is there now."""
    workspace.train()
    passes = 0

    def ingest(*_: object, **__: object) -> None:
        nonlocal passes
        passes += 1
        another = workspace.root / "another.db"
        another.write_bytes(empty_store.read_bytes())
        another.replace(workspace.root / "mlruns/mlflow.db")
        raise TrackingError("attempt to write a readonly database")

    def start_anew(*_: object) -> None:
        raise SystemExit("anew")

    monkeypatch.setattr(Ingester, "ingest", ingest)
    monkeypatch.setattr(os, "execv", start_anew)
    with pytest.raises(SystemExit, match="anew"):
        follow(process=None)
    assert passes == 1


def test_a_server_that_is_killed_has_in_the_end_what_it_would_have_had(
    workspace: Workspace,
    worker: subprocess.Popen[bytes],
    follower: Follower,
    new_workspace: Callable[[], Workspace],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (workspace.root / "mlflow.db").symlink_to("mlruns/mlflow.db")
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # its patience takes minutes
    events = list(telemetry_of(training_events()))
    with mlflow_ui(workspace.root, port, ends_by=signal.SIGKILL):
        process = follower()
        workspace.begin()
        for event, telemetry in events[:8]:
            workspace.add(event, telemetry)
        _await(lambda: len(workspace.metric("train/loss")) > 0)
    for event, telemetry in events[8:]:
        workspace.add(event, telemetry)
    assert process.stderr is not None
    while not process.stderr.readline().endswith(b"trying again\n"):
        assert process.poll() is None
    with mlflow_ui(workspace.root, port):
        end(worker)
        process.communicate(timeout=600)
    assert process.returncode == 0

    undisturbed = new_workspace()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    undisturbed.train()
    track()
    assert workspace.dump() == undisturbed.dump()


def test_following_what_is_over_ends_at_once(workspace: Workspace) -> None:
    workspace.train()
    follow(process=None)
    assert workspace.dump()["runs"][0][1] == "FINISHED"
