"""What all batch scripts have in common: directives, modules, and words that a shell reads back."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minilingua.launch.cluster import Cluster, Resources, StageName

JOBS = "runs/jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a script runs and writes."""

    repository: Path
    """The checkout."""
    directory: str
    """Of the job's log and completion record; may hold shell variables."""
    log: str
    """Slurm's pattern of the log's name. Relative: Slurm would split a path at its spaces."""
    name: str
    """Name of the job."""
    run: str | None = None
    """Run directory of the training, if it is known beforehand."""
    image_digest: str | None = None
    """Of the image, if it is known beforehand."""


def heading(source: str, about: str | None = None) -> list[str]:
    """Returns the first lines: the shell, and where the script comes from."""
    made = f"# Made from {source} by `minilingua slurm`: edit that and make it anew."
    return ["#!/bin/bash", made, *([f"# {about}"] if about else [])]


def directives(stage: StageName, cluster: Cluster, resources: Resources, place: Place) -> list[str]:
    """Returns the ``#SBATCH`` lines."""
    assert cluster.slurm is not None
    goes_on = stage in {"train", "pipeline"}
    options = {
        "job-name": place.name,
        "partition": resources.partition,
        "account": cluster.slurm.account,
        "time": resources.time,
        "nodes": resources.nodes,
        "ntasks-per-node": resources.tasks_per_node if stage == "train" else 1,
        "cpus-per-task": resources.cpus,
        "mem": resources.memory,
        "output": place.log,
        "open-mode": "append",
    }
    if resources.gpus:
        kind = f"{resources.gpu_type}:" if resources.gpu_type else ""
        options["gres"] = f"gpu:{kind}{resources.gpus}"
    if goes_on:
        options["signal"] = f"B:USR1@{cluster.slurm.save_before_limit}"
    lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
    return [*lines, "#SBATCH --requeue" if goes_on else "#SBATCH --no-requeue"]


def modules(cluster: Cluster) -> list[str]:
    """Returns what loads the environment modules; goes before ``set -u``, which they may break."""
    assert cluster.slurm is not None
    if not cluster.slurm.modules:
        return []
    return [
        # The function is not there in a job that is given listed variables only.
        "type module >/dev/null 2>&1 || . /etc/profile",
        *(f"module load {shlex.quote(name)} || exit 2" for name in cluster.slurm.modules),
    ]


def quote(text: str) -> str:
    """Quotes a word for the shell, leaving ``${NAME}``, and nothing else, to it."""
    if not re.search(r"\$\{\w+\}", text):
        return shlex.quote(text)
    escaped = re.sub(r'[\\"`]|\$(?!\{\w+\})', lambda match: f"\\{match[0]}", text)
    return f'"{escaped}"'


def join(arguments: Sequence[str]) -> str:
    """Returns a command line."""
    return " ".join(map(quote, arguments))
