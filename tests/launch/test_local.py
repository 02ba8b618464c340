import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minilingua.core.errors import LaunchError
from minilingua.launch.local import LocalLauncher

RUN_LAUNCHER = """
import signal, sys
for number in (signal.SIGINT, signal.SIGHUP):  # as in a terminal, whoever runs the tests
    signal.signal(number, signal.SIG_DFL)
from minilingua.launch.local import LocalLauncher
sys.exit(LocalLauncher().run(sys.argv[1:], started=lambda process: print(process, flush=True)))
"""

WAIT_FOR_SIGNALS = """
import pathlib, signal, sys, time
def note(number, frame):
    with open(sys.argv[1], "a") as stream:
        stream.write(signal.Signals(number).name + "\\n")
    if number != signal.SIGUSR1:
        sys.exit(75)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, note)
pathlib.Path(sys.argv[1]).write_text("")
time.sleep(300)
"""


def _await(path: Path, text: str) -> None:
    for _ in range(3000):
        if path.exists() and path.read_text() == text:
            return
        time.sleep(0.02)
    raise AssertionError(f"{path}: {path.read_text() if path.exists() else None!r} != {text!r}")


def _launch(log: Path) -> tuple[subprocess.Popen[str], int]:
    launcher = subprocess.Popen(
        [sys.executable, "-c", RUN_LAUNCHER, sys.executable, "-c", WAIT_FOR_SIGNALS, str(log)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert launcher.stdout is not None
    worker = int(launcher.stdout.readline())
    _await(log, "")
    return launcher, worker


@pytest.mark.parametrize("code", [0, 2, 75])
def test_returns_the_exit_code(code: int) -> None:
    started: list[int] = []
    command = [sys.executable, "-c", f"raise SystemExit({code})"]
    assert LocalLauncher().run(command, started=started.append) == code
    assert len(started) == 1


def test_a_program_that_is_not_there_is_one_line() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(LaunchError, match=r"^no-such-program is not on PATH$"):
        LocalLauncher().run(["no-such-program"], started=lambda _: None)
    assert signal.getsignal(signal.SIGTERM) is before


def test_death_by_a_signal_is_reported_as_a_shell_does() -> None:
    command = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    assert LocalLauncher().run(command, started=lambda _: None) == 128 + signal.SIGKILL


def test_output_passes_through_and_input_is_closed(capfd: pytest.CaptureFixture[str]) -> None:
    script = "import sys; print('seen'); print(repr(sys.stdin.read()), file=sys.stderr)"
    LocalLauncher().run([sys.executable, "-c", script], started=lambda _: None)
    assert capfd.readouterr() == ("seen\n", "''\n")


@pytest.mark.parametrize(
    ("sent", "received"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGTERM")]
)
def test_a_stop_signal_reaches_the_worker_once(tmp_path: Path, sent: str, received: str) -> None:
    log = tmp_path / "signals"
    launcher, _ = _launch(log)
    launcher.send_signal(signal.Signals[sent])
    with launcher:
        assert launcher.wait(60) == 75
    assert log.read_text() == f"{received}\n"


def test_other_signals_are_forwarded_without_ending_anything(tmp_path: Path) -> None:
    log = tmp_path / "signals"
    launcher, _ = _launch(log)
    launcher.send_signal(signal.SIGUSR1)
    _await(log, "SIGUSR1\n")
    launcher.send_signal(signal.SIGTERM)
    with launcher:
        assert launcher.wait(60) == 75
    assert log.read_text() == "SIGUSR1\nSIGTERM\n"


def test_the_worker_outlives_a_killed_launcher(tmp_path: Path) -> None:
    log = tmp_path / "signals"
    launcher, worker = _launch(log)
    launcher.kill()
    with launcher:
        launcher.wait(60)
    os.kill(worker, signal.SIGTERM)  # raises if it is gone
    _await(log, "SIGTERM\n")


def test_handlers_are_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    LocalLauncher().run([sys.executable, "-c", ""], started=lambda _: None)
    assert signal.getsignal(signal.SIGTERM) is before
