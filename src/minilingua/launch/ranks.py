"""Runs one command as several ranks on this machine, and ends them all when one dies.

    launcher ─► ranks ─┬─► rank 0    our standard error
                       ├─► rank 1    a file, shown if it is the one that failed
                       └─► ..        they meet in a file: no port is opened for it

A signal to this process goes to every rank. When a rank ends with an error the others get
``GRACE_S`` seconds to notice by themselves, then they are killed: none waits forever in an exchange
with a dead one.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from minilingua.core.errors import (
    EXIT_BAD_INPUT,
    EXIT_LOST_RANK,
    EXIT_PREEMPTED,
    LaunchError,
    MiniLinguaError,
)
from minilingua.params import Params
from minilingua.training.layout import model_parallel_ranks

RANKS_VARIABLE = "MINILINGUA_RANKS"
"""Number of ranks on this machine; by default one a GPU, or as few as the layout needs."""

GRACE_S = 10.0
_POLL_S = 0.05
_SHOWN_LINES = 30
_KILLED_BY_SIGNAL = 128
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_GPUS = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rank:
    number: int
    process: subprocess.Popen[bytes]
    errors: Path | None
    """File of its standard error; None: ours."""


def local_ranks(params: Params, environment: Mapping[str, str] = os.environ) -> int:
    """Returns how many ranks to start here.

    Raises:
        LaunchError: the environment does not give a number.
    """
    asked = environment.get(RANKS_VARIABLE)
    if asked:
        if not asked.isdecimal() or int(asked) < 1:
            raise LaunchError(f"{RANKS_VARIABLE}={asked}: expected a number of ranks, at least 1")
        return int(asked)
    least = model_parallel_ranks(params.train.parallel)
    return max(visible_gpus(environment) // least * least, least)


def visible_gpus(environment: Mapping[str, str] = os.environ, gpus: Path = _GPUS) -> int:
    """Returns the number of GPUs that a process here may use, without loading CUDA."""
    present = len(list(gpus.iterdir())) if gpus.is_dir() else 0
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return present
    return min(present, len([name for name in chosen.split(",") if name.strip() not in {"", "-1"}]))


def ranks_command(ranks: int, command: Sequence[str]) -> list[str]:
    """Returns the command that runs ``command`` as several ranks."""
    return [sys.executable, "-m", "minilingua.launch.ranks", str(ranks), *command]


def run_ranks(ranks: int, command: Sequence[str]) -> int:
    """Runs the ranks to their end; returns 0, or the exit code of the first that failed."""
    with tempfile.TemporaryDirectory(prefix="minilingua-ranks-") as directory, ExitStack() as stack:
        started: list[_Rank] = []
        stack.enter_context(_forwarding(started))
        try:
            for number in range(ranks):
                started.append(  # noqa: PERF401 - those that run are ended if one cannot start
                    _start(number, ranks, command, Path(directory))
                )
            ended = _wait(started)
        finally:
            for rank in started:
                if rank.process.poll() is None:
                    rank.process.kill()
                rank.process.wait()
        failed = [rank for rank in ended if rank.process.returncode]
        if not failed:
            return 0
        # A rank that lost another one only says so; the one that was lost knows why.
        first = min(failed, key=lambda rank: rank.process.returncode == EXIT_LOST_RANK)
        _show(first, started)
        return _exit_code(first)


def _start(number: int, ranks: int, command: Sequence[str], directory: Path) -> _Rank:
    environment = {
        **os.environ,
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(ranks),
        "MINILINGUA_RENDEZVOUS": str(directory / "rendezvous"),
    }
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):  # nothing leaves this machine
        environment.setdefault(name, "lo")
    errors = None if number == 0 else directory / f"rank_{number}"
    with ExitStack() as stack:
        stream = None if errors is None else stack.enter_context(errors.open("wb"))
        process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=None if number == 0 else subprocess.DEVNULL,
            stderr=stream,
        )
    return _Rank(number=number, process=process, errors=errors)


def _wait(ranks: Sequence[_Rank]) -> list[_Rank]:
    """Waits until all have ended, or one failed and the others had their time.

    Returns those that ended by themselves, in the order in which they were seen to.
    """
    ended: list[_Rank] = []
    deadline: float | None = None
    while len(ended) < len(ranks):
        ended += [r for r in ranks if r not in ended and r.process.poll() is not None]
        if deadline is None and any(rank.process.returncode for rank in ended):
            deadline = time.monotonic() + GRACE_S
        if deadline is not None and time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    return ended


def _show(failed: _Rank, ranks: Sequence[_Rank]) -> None:
    """Shows the errors of a rank whose standard error nobody saw."""
    code = failed.process.returncode
    said = ranks[0].process.returncode == code and code in {EXIT_BAD_INPUT, EXIT_PREEMPTED}
    if failed.errors is None or said:  # rank 0 has told the same
        return
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    lines = failed.errors.read_text(encoding="utf-8", errors="replace").splitlines()
    for line in [how, *lines[-_SHOWN_LINES:]]:
        print(f"train: rank {failed.number}: {line}", file=sys.stderr)  # noqa: T201


def _exit_code(rank: _Rank) -> int:
    code = rank.process.returncode
    return code if code >= 0 else _KILLED_BY_SIGNAL - code


@contextmanager
def _forwarding(ranks: Sequence[_Rank]) -> Iterator[None]:
    def forward(number: int, _frame: FrameType | None) -> None:
        for rank in ranks:
            if rank.process.poll() is None:
                rank.process.send_signal(number)

    handled = [number for number in _FORWARDED if signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, forward) for number in handled}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def main() -> int:
    """Runs ``RANKS COMMAND ..`` of the command line."""
    try:
        return run_ranks(int(sys.argv[1]), sys.argv[2:])
    except MiniLinguaError as error:
        print(f"train: error: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
