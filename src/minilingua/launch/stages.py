"""Heavy stages at the place that the environment names: here or in Slurm, contained or not.

minilingua train, convert, evaluate ─► cluster ─┬─ here, bare ──────► the stage itself
                                                ├─ here, contained ─► its program in the image
                                                └─ slurm ───────────► its job
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ruamel.yaml import YAML

from minilingua.core.errors import LaunchError
from minilingua.core.machine import IMAGE_DIGEST_VARIABLE
from minilingua.core.plan import read_plan
from minilingua.core.runs import RUNS
from minilingua.launch.cluster import Cluster, StageName, chosen_cluster, cluster_file, read_cluster
from minilingua.launch.follower import start_follower
from minilingua.launch.image_check import require_image
from minilingua.launch.local import LocalLauncher
from minilingua.launch.program import (
    LAUNCHED_INSIDE,
    command,
    prepare_scratch,
    stage_program,
    with_passed,
)
from minilingua.launch.ranks import RANKS_VARIABLE
from minilingua.params import Params
from minilingua.training.run_directory import open_run
from minilingua.training.run_key import DVC_FILE, identify_run

PLAN = Path("data/plan")


def place() -> Cluster:
    """Returns the place that the environment names.

    Raises:
        LaunchError: there is no such place.
    """
    return read_cluster(chosen_cluster()).expanded()


def convert(params: Params) -> int:
    """Runs the stage ``convert`` at its place."""
    code = _run_elsewhere("convert", params)
    if code is None:
        from minilingua.conversion.stage import run

        run(params)
    return code or 0


def evaluate(params: Params) -> int:
    """Runs the stage ``evaluate`` at its place."""
    code = _run_elsewhere("evaluate", params)
    if code is None:
        from minilingua.evaluation.stage import run

        run(params)
    return code or 0


def _run_elsewhere(name: StageName, params: Params) -> int | None:
    """Returns the exit code of a stage that does not run in this process; None if it does."""
    cluster = place()
    if cluster.launcher == "slurm":
        return run_in_slurm(name, params, cluster)
    if cluster.container != "bare":
        return run_contained(name, cluster, started=lambda _: None)
    return None


def run_contained(
    name: StageName, cluster: Cluster, started: Callable[[int], None], ranks: int = 1
) -> int:
    """Runs a stage on this machine, in the cluster's image; returns its exit code.

    Args:
        name: of the stage.
        cluster: the cluster file, expanded.
        started: called with the id of the process.
        ranks: processes of a training; more than one are started inside, where they meet.

    Raises:
        LaunchError: the image cannot be used.
    """
    digest = require_image(cluster)
    prepare_scratch(cluster, Path.cwd())
    program = stage_program(name) if ranks == 1 else LAUNCHED_INSIDE
    contained = command(program, cluster, Path.cwd())
    given = {IMAGE_DIGEST_VARIABLE: digest or "", RANKS_VARIABLE: str(ranks)}
    environment = with_passed(contained, {**os.environ, **given})
    return LocalLauncher().run(contained.arguments, started, environment)


def run_in_slurm(name: StageName, params: Params, cluster: Cluster) -> int:
    """Runs a stage as a job, or follows the job that is there; returns an exit code.

    Raises:
        LaunchError: the job is refused or fails, or left an output out.
    """
    # Here, because an image, in which nothing is submitted, has not all that it needs.
    from minilingua.launch.slurm import SlurmLauncher, Stage

    digest = require_image(cluster)
    key = identify_run(params, stage=name).key
    is_training = name == "train"
    run = RUNS / key if is_training else None
    stage = Stage(
        name=name,
        key=key,
        run=run,
        steps=read_plan(PLAN).splits["train"].steps if is_training else None,
        image_digest=digest,
    )
    launcher = SlurmLauncher(cluster, str(cluster_file(chosen_cluster())))
    launcher.run(
        stage,
        # DVC has deleted the outputs of an earlier job; only a run directory gives them again.
        has_result=lambda: is_training and open_run(key).finished() is not None,
        started=partial(start_follower, os.getpid(), run) if is_training else lambda: None,
    )
    if is_training and _missing(name):
        return _publish_here(cluster)
    if missing := _missing(name):
        raise LaunchError(f"the job of {name} ended well, but {missing[0]} is not here")
    return 0


def _publish_here(cluster: Cluster) -> int:
    """Publishes a finished run directory again: takes a second, needs no GPU and trains nothing."""
    if cluster.container != "bare":
        return run_contained("train", cluster, started=lambda _: None)
    command = [sys.executable, "-m", stage_program("train").module]
    return LocalLauncher().run(command, started=lambda _: None)


def _missing(stage: str) -> list[str]:
    raw = YAML(typ="safe", pure=True).load(DVC_FILE.read_text(encoding="utf-8"))
    return [name for name in raw["stages"][stage]["outs"] if not Path(name).exists()]
