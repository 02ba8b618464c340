"""DVC's command ``minilingua train``: finds the place, runs the worker there and follows it."""

import argparse
import sys
from collections.abc import Callable, Sequence

from minilingua.core.errors import LaunchError
from minilingua.launch.follower import start_follower
from minilingua.launch.local import LocalLauncher
from minilingua.launch.ranks import local_ranks, ranks_command
from minilingua.launch.stages import place, run_contained, run_in_slurm
from minilingua.params import Params
from minilingua.params_file import load_params
from minilingua.training.layout import plan_layout


def worker_command() -> list[str]:
    """Returns the command that trains; it reads params.yaml itself and launches nothing."""
    return [sys.executable, "-m", "minilingua.training.worker"]


def preflight(argv: Sequence[str]) -> int:
    """Runs `minilingua preflight`: the worker's checks, where the training would run."""
    argparse.ArgumentParser(
        prog="minilingua preflight",
        description="Checks all that a training needs where it would run: inputs, layout, disk; "
        "builds the model, tries the largest micro batch, tells memory and time. Trains nothing.",
    ).parse_args(argv)
    cluster = place()
    if (cluster.launcher, cluster.container) != ("local", "bare"):
        raise LaunchError(
            "the preflight looks at the machine that it runs on, and MINILINGUA_CLUSTER names "
            "another place: a job has one of its own, and `minilingua doctor` looks before it"
        )
    return _run_here(load_params(), [*worker_command(), "--preflight"], started=lambda _: None)


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
        return _run_here(params, worker_command(), started=start_follower)
    ranks = local_ranks(params)
    plan_layout(params, ranks)
    return run_contained("train", cluster, started=start_follower, ranks=ranks)


def _run_here(params: Params, command: list[str], started: Callable[[int], None]) -> int:
    ranks = local_ranks(params)
    plan_layout(params, ranks)
    if ranks > 1:
        command = ranks_command(ranks, command)
    return LocalLauncher().run(command, started=started)
