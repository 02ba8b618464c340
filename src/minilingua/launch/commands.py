"""The commands ``minilingua slurm`` (scripts) and ``minilingua cancel`` (jobs)."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from minilingua.core.errors import LaunchError, did_you_mean
from minilingua.core.files import write_text
from minilingua.core.languages import LANGUAGES
from minilingua.launch.cluster import (
    CLUSTERS,
    Cluster,
    StageName,
    chosen_cluster,
    cluster_file,
    read_cluster,
)
from minilingua.launch.job_arrays import render_data, render_tokenize
from minilingua.launch.sbatch import render
from minilingua.launch.script import JOBS, Place
from minilingua.launch.slurm_client import cancel as cancel_job
from minilingua.launch.slurm_client import find_by_name, job_state, require_slurm
from minilingua.launch.submission import all_submissions
from minilingua.sources.spec import load_specs

SCRIPTS = Path("slurm")
STAGES: tuple[StageName, ...] = ("train", "convert", "evaluate", "pipeline")
_SUBMITTED = ("train", "convert", "evaluate")
"""Stages that `dvc repro` runs as jobs."""


def scripts(name: str, cluster: Cluster) -> dict[str, str]:
    """Returns the scripts of a cluster by file name, as a person submits them from the checkout."""
    source = str(cluster_file(name))
    texts = {}
    for stage in STAGES:
        place = Place(
            repository=Path("${SLURM_SUBMIT_DIR}"),
            directory=f"{JOBS}/{stage}-${{SLURM_JOB_ID}}",
            log=f"{JOBS}/{stage}-%j.log",
            name=f"minilingua-{stage}",
        )
        texts[f"{stage}.sbatch"] = render(stage, cluster, place, source)
    on_hub = [name for name, spec in load_specs().items() if spec.repositories]
    texts["data.sbatch"] = render_data(cluster, on_hub, source)
    texts["tokenize.sbatch"] = render_tokenize(cluster, list(LANGUAGES), source)
    return texts


def slurm(argv: Sequence[str] | None = None) -> int:
    """Writes the batch scripts of a cluster.

    Raises:
        LaunchError: there is no such cluster, or it has no Slurm.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua slurm",
        description="Write the batch scripts of a cluster. `dvc repro` needs none of them: it "
        "makes and submits its own. They are for jobs that a person submits, from the checkout.",
    )
    parser.add_argument(
        "--cluster", default=chosen_cluster(), metavar="NAME", help=f"a file of {CLUSTERS}"
    )
    parser.add_argument("--output", type=Path, default=SCRIPTS, help="default: %(default)s")
    arguments = parser.parse_args(argv)
    cluster = read_cluster(arguments.cluster, {})
    if cluster.slurm is None:
        raise LaunchError(f"{cluster_file(arguments.cluster)} has no section 'slurm'")
    for file, text in scripts(arguments.cluster, cluster).items():
        write_text(arguments.output / file, text)
        print(arguments.output / file)  # noqa: T201 - the command's output
    # Slurm opens the log before the script could make its directory.
    Path(JOBS).mkdir(parents=True, exist_ok=True)
    return 0


def cancel(argv: Sequence[str] | None = None) -> int:
    """Ends the jobs of this checkout.

    Raises:
        LaunchError: Slurm is not here or refuses, or a stage has another name.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua cancel",
        description="End the Slurm jobs that this checkout has submitted, all or those of some "
        "stages. A training saves what it can; the next `dvc repro` goes on from there.",
    )
    parser.add_argument("stage", nargs="*", help="train, convert or evaluate; default: all")
    arguments = parser.parse_args(argv)
    for stage in arguments.stage:
        if stage not in _SUBMITTED:
            raise LaunchError(
                f"there are no jobs of {stage!r}; there are: {', '.join(_SUBMITTED)}"
                f"{did_you_mean(stage, _SUBMITTED)}"
            )
    require_slurm()
    ended = 0
    for _, submission in all_submissions():
        if arguments.stage and submission.stage not in arguments.stage:
            continue
        job = submission.job or find_by_name(submission.name, Path.cwd())
        if job is not None and not submission.is_settled and job_state(job).is_live:
            cancel_job(job)
            print(f"cancelled job {job} ({submission.stage})")  # noqa: T201 - as above
            ended += 1
    if not ended:
        print("no job of this checkout is waiting or running", file=sys.stderr)  # noqa: T201
    return 0
