"""`dvc repro` after something was killed: the same model as if nothing had happened.

Equal outputs of `train` mean equal weights and an equal `reports/train/events.jsonl`, which holds
the losses and the digest of the sample ids of every step.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from minilingua.core.errors import EXIT_PREEMPTED
from tests.pipeline.workspace import Workspace

pytestmark = pytest.mark.pipeline

_TIME_OUT = 120


class MissedError(AssertionError):
    """The training ran past its moment between two looks."""


class Training:
    """A command that trains in a workspace, and the worker at its end."""

    def __init__(self, workspace: Workspace, *command: str) -> None:
        self._runs = workspace.path / "runs"
        self._errors = workspace.path.with_name(f"errors-{time.monotonic_ns()}")
        # A file: a pipe would be held open by a worker that outlives its command.
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                cwd=workspace.path,
                env=workspace.environment(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )

    def errors(self) -> str:
        """Returns what has been printed on standard error."""
        return self._errors.read_text(encoding="utf-8")

    def worker(self) -> int:
        """Waits for the start of the training and returns the worker's process id."""
        return int(self._wait_for("telemetry.jsonl", lambda records: _pid(records)))

    def events(self) -> list[dict[str, object]]:
        return _records(self._runs, "events.jsonl")

    def freeze_when(self, moment: Callable[["Training"], bool]) -> int:
        """Stops the worker's clock at a moment and returns its process id.

        The worker stands still at every look and runs for four milliseconds between two of them:
        however long a look takes on a busy machine, no moment passes meanwhile.
        """
        pid = self.worker()
        deadline = time.monotonic() + _TIME_OUT
        with contextlib.suppress(ProcessLookupError):  # it has ended: its moment was missed
            while time.monotonic() < deadline and self.process.poll() is None:
                os.kill(pid, signal.SIGSTOP)
                if moment(self):
                    return pid
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.004)
        raise MissedError(f"it ended before its moment: {self.end()}")

    def end(self) -> tuple[int, str]:
        """Waits for the command's end; returns exit code and standard error."""
        return self.process.wait(timeout=_TIME_OUT), self.errors()

    def saves(self) -> dict[str, bool]:
        """States for resuming ─► whether they are complete."""
        return {
            path.name: (path / "complete.json").exists()
            for path in self._runs.glob("*/checkpoints/step_*")
        }

    def _wait_for(self, name: str, find: Callable[[list[dict[str, object]]], object]) -> str:
        deadline = time.monotonic() + _TIME_OUT
        while time.monotonic() < deadline:
            found = find(_records(self._runs, name))
            if found is not None:
                return str(found)
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        raise AssertionError(f"no worker was seen: {self.end()}")


def _records(runs: Path, name: str) -> list[dict[str, object]]:
    lines = [line for file in runs.glob(f"*/{name}") for line in file.read_text().splitlines(True)]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _pid(records: list[dict[str, object]]) -> object:
    starts = [record["pid"] for record in records if record["kind"] == "start"]
    return starts[-1] if starts else None


def _last(training: Training, kind: str) -> int:
    steps = [event["step"] for event in training.events() if event["kind"] == kind]
    return int(str(steps[-1])) if steps else -1


def _at_a_step(training: Training) -> bool:
    return _last(training, "step") >= _AT


_AT = random.SystemRandom().randint(1, 13)
"""The training has 14 steps. Another one each time: every step has to be good for it."""


def _in_a_save(training: Training) -> bool:
    return False in training.saves().values()


def _in_an_evaluation(training: Training) -> bool:
    return _last(training, "step") == 10 and _last(training, "evaluation") == 5


def _frozen(
    prepared: Workspace,
    directory: Path,
    moment: Callable[[Training], bool],
    command: tuple[str, ...] = ("dvc", "repro", "train"),
) -> tuple[Workspace, Training, int]:
    """Starts a training and freezes its worker at a moment; a missed one is tried again.

    An evaluation of `smoke` lasts a few hundredths of a second, and the scheduler of a machine
    that runs other tests may leave this process out for longer.
    """
    missed: MissedError | None = None
    for attempt in range(4):
        workspace = prepared.copy(directory / f"checkout_{attempt}")
        training = Training(workspace, *command)
        try:
            return workspace, training, training.freeze_when(moment)
        except MissedError as error:
            missed = error
    raise AssertionError(str(missed))


@pytest.mark.parametrize("moment", [_at_a_step, _in_a_save, _in_an_evaluation])
def test_a_killed_training_is_taken_up_where_it_was(
    prepared: Workspace, smoke: Workspace, tmp_path: Path, moment: Callable[[Training], bool]
) -> None:
    workspace, training, worker = _frozen(prepared, tmp_path, moment)
    os.kill(worker, signal.SIGKILL)
    code, errors = training.end()
    assert code != 0, errors
    assert "failed to reproduce 'train'" in errors
    assert not (workspace.path / "models/megatron").exists()
    assert workspace.repro("train") == ["train"]
    assert workspace.outputs("train") == smoke.outputs("train"), f"killed at step {_AT}"


def test_a_killed_dvc_leaves_a_training_that_the_next_one_waits_for(
    prepared: Workspace, smoke: Workspace, tmp_path: Path
) -> None:
    workspace, training, worker = _frozen(prepared, tmp_path, _at_a_step)
    training.process.kill()
    training.process.wait()
    second = Training(workspace, "dvc", "repro", "convert")
    while second.process.poll() is None and "is held by process" not in second.errors():
        time.sleep(0.05)
    os.kill(worker, signal.SIGCONT)  # it finishes while the second one is there
    code, errors = second.end()
    assert code == 0, errors
    for stage in ("train", "convert"):
        assert workspace.outputs(stage) == smoke.outputs(stage)
    assert _steps(training.events()) == _uninterrupted(smoke)  # one process trained, each step once


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_stop_signal_saves_and_has_an_exit_code_of_its_own(
    prepared: Workspace, smoke: Workspace, tmp_path: Path, number: signal.Signals
) -> None:
    workspace, training, worker = _frozen(
        prepared, tmp_path, lambda training: _last(training, "step") >= 2, ("minilingua", "train")
    )
    training.process.send_signal(number)
    os.kill(worker, signal.SIGCONT)
    code, errors = training.end()
    assert code == EXIT_PREEMPTED == 75, errors
    assert "start again to go on" in errors
    assert list(training.saves().values()) == [True]
    assert workspace.repro("train") == ["train"]
    assert workspace.outputs("train") == smoke.outputs("train")
    assert _steps(training.events()) == _uninterrupted(smoke)  # nothing was trained twice


def _uninterrupted(smoke: Workspace) -> list[object]:
    """Returns the steps of a training that nothing has stopped."""
    steps = _steps(_records(smoke.path / "runs", "events.jsonl"))
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) > 10
    return steps


def _steps(events: list[dict[str, object]]) -> list[object]:
    return [event["step"] for event in events if event["kind"] == "step"]
