import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from minilingua.tracking.follow import follow
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


def test_following_what_is_over_ends_at_once(workspace: Workspace) -> None:
    workspace.train()
    follow(process=None)
    assert workspace.dump()["runs"][0][1] == "FINISHED"
