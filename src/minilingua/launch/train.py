"""DVC's command ``minilingua train``: finds the place, runs the worker there and follows it."""

import argparse
import sys
from collections.abc import Callable, Sequence

from minilingua.launch.follower import start_follower
from minilingua.launch.launcher import chosen_cluster, load_launcher, read_cluster
from minilingua.launch.ranks import local_ranks, ranks_command
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
    return _launch(load_params(), [*worker_command(), "--preflight"], started=lambda _: None)


def run(params: Params) -> int:
    """Runs the training where the environment says and returns the worker's exit code.

    ``EXIT_PREEMPTED`` means stopped and saved: the next call goes on from there.

    Raises:
        LaunchError: there is no such place.
        ParamsError: the ranks there cannot share this training as ``train.parallel`` says.
    """
    return _launch(params, worker_command(), started=start_follower)


def _launch(params: Params, command: list[str], started: Callable[[int], None]) -> int:
    cluster = read_cluster(chosen_cluster())
    if cluster.launcher == "local":
        ranks = local_ranks(params)
        plan_layout(params, ranks)
        if ranks > 1:
            command = ranks_command(ranks, command)
    return load_launcher(cluster).run(command, started=started)
