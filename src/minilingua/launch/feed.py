"""Feeds MLflow when a stage has ended, so that plain `dvc repro` does. Best effort.

A training is followed by a process of its own (``follower.py``), which finishes by itself. The
evaluation is waited for, with the model before it: when `dvc repro` returns, `mlflow ui` has it
all. A process for the model alone would take a core from the evaluation that begins then.
"""

import subprocess

from minilingua.launch.follower import track_command, tracking_is_on, warn

_TIME_OUT = 90
"""Seconds; an update takes about five, and may first wait for another one."""


def feed_after_stage(stage: str) -> None:
    """Brings MLflow up to date after ``stage`` succeeded; a failure is one line, no more."""
    if tracking_is_on():
        _run(track_command("--after", stage))


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_TIME_OUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        warn(f"no end after {_TIME_OUT} s")
    except OSError as error:
        warn(str(error))
    else:
        if done.returncode != 0:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            warn(lines[-1] if lines else f"exit code {done.returncode}")
