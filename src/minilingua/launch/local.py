"""Runs a command on this machine, in this environment.

    terminal ──SIGINT, SIGTERM, SIGHUP, SIGUSR1──► launcher ──► command

The command has a session of its own, so that a Ctrl-C reaches it once, through the launcher, and
it lives on when the launcher is killed: it is then found again by its lock.
"""

import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType

from minilingua.core.errors import LaunchError

_FORWARDED = {
    signal.SIGINT: signal.SIGINT,
    signal.SIGTERM: signal.SIGTERM,
    signal.SIGHUP: signal.SIGTERM,  # the terminal is gone: save and stop
    signal.SIGUSR1: signal.SIGUSR1,
}
"""Signal to the launcher ─► signal to the command."""

_KILLED_BY_SIGNAL = 128
"""A shell reports death by signal n as exit code 128 + n; so do we."""


class LocalLauncher:
    """A child process with our standard output and error; its input is closed."""

    def run(
        self,
        command: Sequence[str],
        started: Callable[[int], None],
        environment: Mapping[str, str] | None = None,
    ) -> int:
        """Runs the command, forwarding signals to it, and returns its exit code.

        Args:
            command: program and arguments.
            started: called once with the id of a process on this machine that lives as long as
                the command does.
            environment: of the command; by default ours.

        Raises:
            LaunchError: there is no such program.
        """
        with _signals_collected() as deliver_to:
            try:
                process = subprocess.Popen(  # noqa: S603 - our own program
                    command, stdin=subprocess.DEVNULL, start_new_session=True, env=environment
                )
            except FileNotFoundError as error:
                raise LaunchError(f"{command[0]} is not on PATH") from error
            deliver_to(process)
            started(process.pid)
            code = process.wait()
        return code if code >= 0 else _KILLED_BY_SIGNAL - code


@contextmanager
def _signals_collected() -> Iterator[Callable[[subprocess.Popen[bytes]], None]]:
    """Handles signals from now on: kept until there is a process, then sent to it."""
    early: list[signal.Signals] = []
    target: list[subprocess.Popen[bytes]] = []

    def handle(number: int, _frame: FrameType | None) -> None:
        sent = _FORWARDED[signal.Signals(number)]
        if target:
            target[0].send_signal(sent)
        else:
            early.append(sent)

    def deliver_to(process: subprocess.Popen[bytes]) -> None:
        target.append(process)
        while early:
            process.send_signal(early.pop(0))

    # What is ignored stays ignored: `nohup` and a shell's `&` ask for that.
    handled = [number for number in _FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, handle) for number in handled}
    try:
        yield deliver_to
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
