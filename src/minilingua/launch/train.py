"""DVC's command ``minilingua train``: finds the place, runs the worker there and follows it."""

import sys

from minilingua.launch.follower import start_follower
from minilingua.launch.launcher import chosen_cluster, load_launcher, read_cluster
from minilingua.launch.ranks import local_ranks, ranks_command
from minilingua.params import Params
from minilingua.training.layout import plan_layout


def worker_command() -> list[str]:
    """Returns the command that trains; it reads params.yaml itself and launches nothing."""
    return [sys.executable, "-m", "minilingua.training.worker"]


def run(params: Params) -> int:
    """Runs the training where the environment says and returns the worker's exit code.

    ``EXIT_PREEMPTED`` means stopped and saved: the next call goes on from there.

    Raises:
        LaunchError: there is no such place.
        ParamsError: the ranks there cannot share this training as ``train.parallel`` says.
    """
    cluster = read_cluster(chosen_cluster())
    command = worker_command()
    if cluster.launcher == "local":
        ranks = local_ranks(params)
        plan_layout(params, ranks)
        if ranks > 1:
            command = ranks_command(ranks, command)
    return load_launcher(cluster).run(command, started=start_follower)
