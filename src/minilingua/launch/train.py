"""DVC's command ``minilingua train``: finds the place, runs the worker there and follows it."""

import sys

from minilingua.launch.follower import start_follower
from minilingua.launch.launcher import chosen_cluster, load_launcher, read_cluster
from minilingua.params import Params


def worker_command() -> list[str]:
    """Returns the command that trains; it reads params.yaml itself and launches nothing."""
    return [sys.executable, "-m", "minilingua.training.worker"]


def run(_params: Params) -> int:
    """Runs the training where the environment says and returns the worker's exit code.

    ``EXIT_PREEMPTED`` means stopped and saved: the next call goes on from there.

    Raises:
        LaunchError: there is no such place.
    """
    launcher = load_launcher(read_cluster(chosen_cluster()))
    return launcher.run(worker_command(), started=start_follower)
