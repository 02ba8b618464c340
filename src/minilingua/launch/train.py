"""DVC's command ``minilingua train``: finds the place, runs the worker there and follows it."""

import sys

from minilingua.launch.follower import start_follower
from minilingua.launch.local import LocalLauncher
from minilingua.launch.ranks import local_ranks, ranks_command
from minilingua.launch.stages import place, run_contained, run_in_slurm
from minilingua.params import Params
from minilingua.training.layout import plan_layout


def worker_command() -> list[str]:
    """Returns the command that trains; it reads params.yaml itself and launches nothing."""
    return [sys.executable, "-m", "minilingua.training.worker"]


def run(params: Params) -> int:
    """Runs the training where the environment says and returns the worker's exit code.

    ``EXIT_PREEMPTED`` means stopped and saved: the next call goes on from there.

    Raises:
        LaunchError: there is no such place, or the job there fails.
        ParamsError: the ranks there cannot share this training as ``train.parallel`` says.
    """
    cluster = place()
    if cluster.launcher == "slurm":
        return run_in_slurm("train", params, cluster)
    if cluster.container == "bare":
        ranks = local_ranks(params)
        plan_layout(params, ranks)
        command = worker_command()
        if ranks > 1:
            command = ranks_command(ranks, command)
        return LocalLauncher().run(command, started=start_follower)
    return run_contained("train", cluster, started=start_follower)
