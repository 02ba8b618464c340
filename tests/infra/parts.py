"""Which of the real parts are on this machine. tests/infra/setup.sh installs and starts them."""

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache

import pytest

from tests.pipeline.workspace import Workspace

REQUIRED_VARIABLE = "MINILINGUA_INFRA"
"""``required`` makes a missing part a failure: set it where setup.sh has run."""

BASE = "minilingua-test-base:current"


def need(*names: str) -> None:
    """Skips the test, saying why, unless all of these parts are here."""
    for name in names:
        missing = _missing(name)
        if missing and os.environ.get(REQUIRED_VARIABLE) == "required":
            pytest.fail(f"{name}: {missing}")
        if missing:
            pytest.skip(f"{name}: {missing}; tests/infra/setup.sh installs it")


def output(*command: str) -> str:
    """Runs a command that has to succeed; returns what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


def run_at(
    place: Mapping[str, str], workspace: Workspace, *command: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs a command of a workspace with the variables that name a place."""
    return workspace.run(*command, check=check, **dict(place))


@cache
def _missing(name: str) -> str | None:
    """Says what a part lacks; asked once, before anything else uses it."""
    return _PARTS[name]()


def _fails(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except subprocess.TimeoutExpired:
        return "does not answer"
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["fails"])[-1]


def _docker() -> str | None:
    if shutil.which("docker") is None:
        return "docker is not on PATH"
    return _fails("docker", "run", "--rm", "--network", "none", BASE, "true")


def chromium() -> str | None:
    """Returns the path of the browser."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


def _chromium() -> str | None:
    return None if chromium() else "is not on PATH"


def _apptainer() -> str | None:
    if shutil.which("apptainer") is None:
        return "apptainer is not on PATH"
    return _fails("apptainer", "--version")


def _slurm() -> str | None:
    if shutil.which("sbatch") is None:
        return "sbatch is not on PATH"
    try:
        done = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode != 0:
        return "its controller does not answer"
    # Jobs that are killed and queues that are filled have no place on a cluster that people use.
    is_ours = "infra" in next(
        (line for line in done.stdout.splitlines() if line.startswith("ClusterName")), ""
    )
    if not is_ours:
        return "this cluster is not the one of tests/infra/setup.sh"
    return _fails("srun", "--quiet", "--time=1", "true")


_PARTS: dict[str, Callable[[], str | None]] = {
    "docker": _docker,
    "apptainer": _apptainer,
    "slurm": _slurm,
    "chromium": _chromium,
}
