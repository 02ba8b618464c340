import json
import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from filelock import FileLock

from minilingua.core.errors import DataError, RunBusyError
from minilingua.launch.launch_lock import GUARD, launch_lock
from minilingua.launch.submission import (
    Completion,
    Submission,
    all_submissions,
    job_directory,
    read_completion,
    read_submission,
    settle,
    write_submission,
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_an_intent_is_on_disk_before_its_job_is_known() -> None:
    directory = job_directory("train", "abc")
    assert read_submission(directory) is None
    intent = Submission(stage="train", key="abc", number=1)
    write_submission(directory, intent)
    assert read_submission(directory) == intent
    assert intent.name == "minilingua-train-abc-1"
    settle(directory, intent)
    assert [found.is_settled for _, found in all_submissions()] == [True]


def test_a_damaged_record_is_one_line() -> None:
    directory = job_directory("train", "abc")
    directory.mkdir(parents=True)
    (directory / "submission.json").write_text("{")
    with pytest.raises(DataError, match=r"submission.json: no record of a submission; remove it"):
        read_submission(directory)


def test_a_completion_is_whole_or_none() -> None:
    directory = job_directory("train", "abc")
    directory.mkdir(parents=True)
    assert read_completion(directory) is None
    file = directory / "complete.json"
    file.write_text('{"attempt":1,"exit_')
    assert read_completion(directory) is None
    file.write_text(json.dumps({"attempt": 2, "exit_code": 0, "job": 7}))
    assert read_completion(directory) == Completion(job=7, attempt=2, exit_code=0)


def _hold(directory: str) -> None:
    with launch_lock(Path(directory)):
        Path(directory, "held").touch()
        time.sleep(60)


def _holder(directory: Path) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(str(directory),))
    process.start()
    while not (directory / "held").exists():
        assert process.is_alive()
        time.sleep(0.02)
    return process


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    holder = _holder(tmp_path / "job")
    assert holder.pid is not None
    with (
        pytest.raises(RunBusyError, match=f"is held by process {holder.pid} on "),
        launch_lock(tmp_path / "job"),
    ):
        pass
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with launch_lock(tmp_path / "job") as renew:
        renew()


def test_the_lock_of_the_dead_is_removed_by_one_at_a_time(tmp_path: Path) -> None:
    directory = tmp_path / "job"
    holder = _holder(directory)
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    (directory / "held").unlink()
    second = multiprocessing.get_context("spawn").Process(target=_hold, args=(str(directory),))
    with FileLock(directory / GUARD):  # as if we were about to take it
        second.start()
        time.sleep(2)
        assert second.is_alive()
        assert not (directory / "held").exists()
    while not (directory / "held").exists():
        assert second.is_alive()
        time.sleep(0.02)
    second.kill()
    second.join()


def test_a_lock_of_another_machine_is_respected(tmp_path: Path) -> None:
    holder = _holder(tmp_path / "job")
    lock = tmp_path / "job/launch.lock"
    assert holder.pid is not None
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    # The same lock as if it had been taken on another login node, where that process may live.
    claim = lock.read_text().replace(socket.getfqdn(), "other-login-node")
    lock.write_text(claim)
    assert "other-login-node" in claim
    with pytest.raises(RunBusyError, match="on other-login-node"), launch_lock(tmp_path / "job"):
        pass
