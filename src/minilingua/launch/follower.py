"""The process that feeds MLflow while a training runs. It never disturbs the training."""

import os
import sys
from pathlib import Path

TRACKING_VARIABLE = "MINILINGUA_TRACKING"
"""``off`` keeps stages from feeding MLflow; ``minilingua track`` works all the same."""

LOG = Path("mlruns/track.log")
"""Where processes without a terminal report why they could not feed MLflow."""

_LOWEST_PRIORITY = 19


def tracking_is_on() -> bool:
    """Tells whether stages feed MLflow."""
    return os.environ.get(TRACKING_VARIABLE) != "off"


def track_command(*arguments: str) -> list[str]:
    """Returns the command that brings MLflow up to date without printing."""
    return [sys.executable, "-m", "minilingua", "track", "--quiet", *arguments]


def start_follower(process: int, run: Path | None = None) -> None:
    """Starts a process that follows the training until ``process`` ends.

    Args:
        process: id of a process on this machine.
        run: run directory, if it is known and there.
    """
    if tracking_is_on():
        which = ("--run", str(run)) if run else ()
        start_detached(track_command("--follow", "--process", str(process), *which))


def start_detached(command: list[str]) -> None:
    """Starts a command with the lowest priority that outlives us and holds no pipe of ours.

    Failing to start is one line on standard error.
    """
    try:
        LOG.parent.mkdir(parents=True, exist_ok=True)
        append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        child = os.posix_spawn(
            command[0],
            command,
            os.environ,
            setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, str(LOG), append, 0o644),
            ],
        )
        os.setpriority(os.PRIO_PROCESS, child, _LOWEST_PRIORITY)
    except OSError as error:
        warn(f"cannot start {' '.join(command[3:])!r}: {error}")


def warn(message: str) -> None:
    """Prints one line on standard error: MLflow is behind, nothing is lost."""
    print(  # noqa: T201 - the terminal is where a stage reports
        f"minilingua: warning: MLflow not updated: {message}; `minilingua track` completes it",
        file=sys.stderr,
    )
