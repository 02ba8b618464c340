import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from minilingua.core.errors import OutputError, RunBusyError
from minilingua.core.events import EndEvent
from minilingua.training import run_directory
from minilingua.training.run_directory import RunDirectory, open_run

HOLD = """
import sys, time
from pathlib import Path
from minilingua.training.run_directory import RunDirectory
run = RunDirectory(path=Path(sys.argv[1]))
with run.lock():
    run.telemetry.write("start", host="here", pid=4711)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return open_run("0123456789abcdef", tmp_path / "runs")


def hold(run: RunDirectory) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_waits_and_is_then_refused(
    run: RunDirectory, capfd: pytest.CaptureFixture[str]
) -> None:
    with hold(run) as process:
        began = time.monotonic()
        with pytest.raises(RunBusyError, match="held by process 4711 on here"), run.lock(0.2):
            pass
        assert time.monotonic() - began >= 0.2
        process.kill()
    assert "is held by process 4711 on here; waiting up to 0 s" in capfd.readouterr().err


def test_a_killed_process_frees_the_lock(run: RunDirectory) -> None:
    with hold(run) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with run.lock(0):
        pass
    with run.lock(0):  # and so does one that ends
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that jumps 100 seconds at every sleep, and then calls ``tick``."""
    made = SimpleNamespace(now=0.0, tick=lambda: None)

    def sleep(_: float) -> None:
        made.now += 100
        made.tick()

    replaced = SimpleNamespace(sleep=sleep, monotonic=lambda: made.now)
    monkeypatch.setattr(run_directory, "time", replaced)
    return made


def test_another_process_is_waited_for_as_long_as_it_works(
    run: RunDirectory, clock: SimpleNamespace, capfd: pytest.CaptureFixture[str]
) -> None:
    def work() -> None:
        if clock.now <= 5000:
            run.telemetry.write("step", step=int(clock.now))

    clock.tick = work
    with hold(run) as process:
        run.await_holder(stop=lambda: False, quiet_s=600)
        assert 5500 < clock.now < 6000  # it then did nothing any more
        process.kill()
    assert capfd.readouterr().err.count("is held by process 4711 on here; waiting as long") == 1


def test_the_wait_ends_with_the_other_process_and_with_a_stop(
    run: RunDirectory, clock: SimpleNamespace
) -> None:
    with hold(run) as process:
        run.await_holder(stop=lambda: clock.now == 200, quiet_s=600)
        assert clock.now == 200

        def end() -> None:
            process.kill()
            process.wait()

        clock.tick = end
        run.await_holder(stop=lambda: False, quiet_s=600)
        assert clock.now == 300
    with run.lock(0):
        run.await_holder(stop=lambda: False, quiet_s=100)
        assert clock.now == 400
    run.await_holder(stop=lambda: False)
    assert clock.now == 400


def test_what_a_killed_process_had_begun_to_write_is_removed(run: RunDirectory) -> None:
    run.save_best(1, {"a": torch.ones(1)})
    left = [run.path / ".run.json.17.tmp", run.path / "best/.step_00000002.safetensors.17.tmp"]
    for file in left:
        file.write_bytes(b"half")
    with run.lock():
        assert not any(file.exists() for file in left)
        assert run.best_path(1).exists()


def test_attempts_are_counted(run: RunDirectory) -> None:
    assert run.telemetry.attempt == 1
    run.telemetry.write("step", step=1)
    assert RunDirectory(path=run.path).telemetry.attempt == 1  # nobody has started yet
    run.telemetry.write("start", pid=1)
    assert RunDirectory(path=run.path).telemetry.attempt == 2
    assert run.telemetry.attempt == 1
    with run.lock():  # what another process did meanwhile was an attempt too
        assert run.telemetry.attempt == 2


def test_it_is_finished_when_ended_with_its_weights(run: RunDirectory) -> None:
    assert run.finished() is None
    end = EndEvent(step=9, reason="early_stop", best_step=5, best_loss=1.0)
    run.add(end)
    assert run.finished() is None
    run.save_best(5, {"b": torch.ones(2), "a": torch.zeros(1)})
    assert run.finished() == end
    assert list(load_file(run.best_path(5))) == ["a", "b"]


def test_weights_that_cannot_be_selected_are_dropped(run: RunDirectory) -> None:
    for step in (0, 4, 8):
        run.save_best(step, {"a": torch.ones(1)})
    run.prune_best([0, 8])
    assert [path.name for path in sorted((run.path / "best").iterdir())] == [
        "step_00000000.safetensors",
        "step_00000008.safetensors",
    ]


def test_describing_names_the_run_and_keeps_the_first_description(run: RunDirectory) -> None:
    run.describe({"params": {"seed": 1}})
    first = (run.path / "run.json").read_text(encoding="utf-8")
    run.describe({"params": {"seed": 2}})
    assert (run.path / "run.json").read_text(encoding="utf-8") == first
    assert (run.path.parent / "current").read_text(encoding="utf-8") == run.key + "\n"


def test_clearing_forgets_all_but_the_lock(run: RunDirectory) -> None:
    with run.lock():
        run.describe({})
        run.telemetry.write("start", pid=1)
        run.save_best(1, {"a": torch.ones(1)})
        again = RunDirectory(path=run.path)
        again.clear()
        assert [path.name for path in run.path.iterdir()] == ["run.lock"]
        assert again.telemetry.attempt == 1


def test_an_unwritable_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    run = open_run("k", tmp_path / "runs")
    with pytest.raises(OutputError, match="runs/k: cannot be used: "), run.lock():
        pass
    with pytest.raises(OutputError, match="cannot be used: "):
        run.save_best(1, {"a": torch.ones(1)})
