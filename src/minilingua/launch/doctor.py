"""The command ``minilingua doctor``: is everything there, before anything is submitted?

Every check is made, whatever the others found; each prints one line: good, a warning or what to do.
"""

import argparse
import configparser
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minilingua.core.errors import MiniLinguaError, MissingInputError
from minilingua.core.files import write_text
from minilingua.launch.cluster import CLUSTERS, Cluster, StageName, chosen_cluster, read_cluster
from minilingua.launch.commands import scripts
from minilingua.launch.image_check import require_image
from minilingua.launch.preflight import quota
from minilingua.launch.program import scratch_directory
from minilingua.launch.slurm_client import require_slurm, test_submission
from minilingua.params import Params
from minilingua.params_file import load_params
from minilingua.run_size import PUBLISHED, estimate_run
from minilingua.sources.mirror import Part
from minilingua.sources.pins import LOCK as SOURCES_LOCK
from minilingua.sources.pins import Lock, read_lock
from minilingua.sources.selection import reads_evaluation_files, select_sources

Level = Literal["good", "warning", "wrong"]
_LEAST_FREE_GB = 50.0
_BYTES_PER_PARAMETER = 18
"""Of one state for resuming: bf16 weights, and fp32 master weights and two moments, with slack."""
_PEAK_TFLOPS = {"h200": 989.0, "h100": 989.0, "a100": 312.0, "v100": 125.0}
"""Dense bf16 (fp16 on V100), by the vendor's data sheets."""
_FILL = "`minilingua fetch --mirror`"
_UTILISATION = (0.1, 0.4)
"""Share of the peak that a training of this size reaches, at worst and at best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found."""

    level: Level
    check: str
    text: str


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the findings; returns 0 if nothing is wrong, 2 otherwise."""
    parser = argparse.ArgumentParser(
        prog="minilingua doctor",
        description="Look, before anything is submitted, whether a cluster can run the training "
        "that params.yaml describes. Submits nothing.",
    )
    parser.add_argument(
        "--cluster", default=chosen_cluster(), metavar="NAME", help=f"a file of {CLUSTERS}"
    )
    arguments = parser.parse_args(argv)
    findings = list(diagnose(arguments.cluster))
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        print(f"{finding.level:<7}  {finding.check:<{width}}  {finding.text}")  # noqa: T201
    return 2 if any(finding.level == "wrong" for finding in findings) else 0


def diagnose(name: str) -> Iterator[Finding]:
    """Yields what the checks find."""
    try:
        params = load_params()
        cluster = read_cluster(name).expanded()
    except MiniLinguaError as error:
        yield Finding(level="wrong", check="cluster", text=str(error))
        return
    yield Finding(level="good", check="cluster", text=f"{name}: {cluster.launcher}")
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "image": lambda: _image(cluster),
        "binds": lambda: _binds(cluster),
        "slurm": lambda: _slurm(name, cluster),
        "disk": lambda: _disk(cluster, params),
        "data": lambda: _data(params),
        "models": lambda: _models(params),
        "cost": lambda: _cost(cluster, params),
        "team": _team,
    }
    for check, look in checks.items():
        try:
            yield from look()
        except MiniLinguaError as error:
            yield Finding(level="wrong", check=check, text=str(error))


def _image(cluster: Cluster) -> Iterator[Finding]:
    digest = require_image(cluster)
    text = f"{cluster.image} is {digest}, as recorded" if digest else "none: this environment"
    yield Finding(level="good", check="image", text=text)


def _binds(cluster: Cluster) -> Iterator[Finding]:
    scratch = scratch_directory(cluster, Path.cwd())
    for bind in cluster.binds:
        if not Path(bind.partition(":")[0]).exists():
            yield Finding(level="wrong", check="binds", text=f"{bind} is not on this machine")
    above = next(parent for parent in (scratch, *scratch.parents) if parent.exists())
    if os.access(above, os.W_OK):
        yield Finding(level="good", check="binds", text=f"scratch {scratch} can be written")
    else:
        yield Finding(level="wrong", check="binds", text=f"scratch: {above} cannot be written")


def _slurm(name: str, cluster: Cluster) -> Iterator[Finding]:
    if cluster.slurm is None:
        yield Finding(level="good", check="slurm", text="not used")
        return
    require_slurm()
    for file, text in scripts(name, cluster).items():
        stage: StageName = file.removesuffix(".sbatch")  # type: ignore[assignment]  # as they are named
        if stage not in cluster.slurm.stages:
            continue
        script = Path("runs/doctor") / file
        write_text(script, text)
        try:
            said = test_submission(script)
        except MiniLinguaError as error:
            yield Finding(level="wrong", check=f"slurm {stage}", text=str(error))
        else:
            yield Finding(level="good", check=f"slurm {stage}", text=said or str(script))


def _disk(cluster: Cluster, params: Params) -> Iterator[Finding]:
    kept = params.train.keep_checkpoints + 1  # one more while a new one is written
    needed = estimate_run(params).parameters * (_BYTES_PER_PARAMETER * kept + 8) / 1e9
    places = {"checkout": Path.cwd(), "scratch": scratch_directory(cluster, Path.cwd())}
    for place, path in places.items():
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        free = shutil.disk_usage(there).free / 1e9
        least = max(needed, _LEAST_FREE_GB) if place == "checkout" else _LEAST_FREE_GB
        text = f"{place} {there}: {free:,.0f} GB free, about {needed:,.0f} GB are needed for states"
        yield Finding(
            level="wrong" if free < needed else "warning" if free < least else "good",
            check="disk",
            text=text,
        )
    told = quota()
    if told:
        yield Finding(level="good", check="disk", text=f"quota: {told}")


def _data(params: Params) -> Iterator[Finding]:
    sources = params.sources
    if sources.origin == "sample":
        yield Finding(level="warning", check="data", text="generated sample, not the real sets")
        return
    if sources.origin == "mirror":
        yield from _mirror(params)
    if sources.origin == "hub":
        from huggingface_hub import get_token

        has_token = get_token() is not None
        text = "logged in to the hub" if has_token else "not logged in: gated sets need HF_TOKEN"
        yield Finding(level="good" if has_token else "warning", check="data", text=text)
        if not SOURCES_LOCK.exists():
            text = f"{SOURCES_LOCK} is missing; `minilingua fetch --pin` writes it"
            yield Finding(level="wrong", check="data", text=text)


def _models(params: Params) -> Iterator[Finding]:
    for key, section in (("base", params.base), ("tokenizer", params.tokenizer)):
        path = section.path
        if path is None or path.startswith("package:"):
            yield Finding(level="good", check="models", text=f"{key}: origin {section.origin}")
        elif Path(path).exists():
            yield Finding(level="good", check="models", text=f"{key}: {path}")
        else:
            text = f"{key}.path: {path} is missing; put it there, or name another {key}.origin"
            yield Finding(level="wrong", check="models", text=text)


def _mirror(params: Params) -> Iterator[Finding]:
    """Is every file there that `fetch` would read, and as long as the lock says?"""
    mirror = Path(str(params.sources.mirror))
    lock = read_lock() if SOURCES_LOCK.exists() else Lock()
    evaluation = reads_evaluation_files(params.sources)
    missing = []
    files = 0
    for name in sorted(select_sources(params.sources).used):
        part = Part(name=name, languages=params.languages, evaluation=evaluation)
        directory = mirror / name
        try:
            found = part.files(directory) if directory.is_dir() else []
        except MissingInputError as error:
            yield Finding(level="wrong", check="data", text=str(error))
            continue
        if not found:
            missing.append(name)
        files += len(found)
        sizes = {
            path: pinned.bytes
            for each in lock.sources.get(name, ())
            for path, pinned in each.local_files().items()
        }
        for file in found:
            size = file.path.stat().st_size
            if size != sizes.get(file.relative, size):
                text = f"{file.path} has {size} bytes of {sizes[file.relative]}; {_FILL} repairs it"
                yield Finding(level="wrong", check="data", text=text)
    if missing:
        text = f"{mirror} has nothing of {', '.join(missing)}; {_FILL} fills it"
        yield Finding(level="wrong", check="data", text=text)
    else:
        yield Finding(level="good", check="data", text=f"mirror {mirror}: {files} files")


def _cost(cluster: Cluster, params: Params) -> Iterator[Finding]:
    if cluster.slurm is None or "train" not in cluster.slurm.stages:
        return
    resources = cluster.resources("train")
    size = estimate_run(params)
    gpus = resources.gpus * resources.nodes
    peak = _PEAK_TFLOPS.get((resources.gpu_type or "").lower()) if gpus else None
    if peak is None or size.steps is None:
        text = "unknown: " + ("no peak is known of the GPU" if peak is None else "generated data")
        yield Finding(level="good", check="cost", text=f"GPU-hours {text}")
        return
    # Forward and backward pass: 6 floating-point operations a parameter and token.
    seen = params.pack.epochs * (1 - params.curate.validation - params.curate.test)
    operations = 6 * size.parameters * PUBLISHED.tokens * seen
    low, high = (
        operations / (peak * 1e12 * share) / 3600 for share in sorted(_UTILISATION, reverse=True)
    )
    text = (
        f"{low:,.1f} to {high:,.1f} GPU-hours, {high / gpus:,.1f} h at most on {gpus} GPUs; the "
        f"limit of an attempt is {resources.seconds / 3600:.1f} h"
    )
    yield Finding(level="good", check="cost", text=text)


def _team() -> Iterator[Finding]:
    """A shared cache has to be writable for the group, and on the checkout's file system."""
    config = configparser.ConfigParser()
    config.read([".dvc/config", ".dvc/config.local"])
    cache = config.get("cache", "dir", fallback=None)
    if cache is None:
        text = "DVC's cache is this checkout's own; docs/cluster.md shows how to share one"
        yield Finding(level="good", check="team", text=text)
        return
    path = Path(".dvc") / cache
    if not path.is_dir():
        yield Finding(level="wrong", check="team", text=f"DVC's cache {path} is no directory")
        return
    mode = path.stat().st_mode
    problems = []
    if not mode & stat.S_IWGRP:
        problems.append("not writable for its group")
    if not mode & stat.S_ISGID:
        problems.append("new files do not get its group (chmod g+s)")
    if config.get("cache", "shared", fallback=None) != "group":
        problems.append("`dvc config cache.shared group` is not set")
    if path.stat().st_dev != Path.cwd().stat().st_dev:
        problems.append("on another file system: files are copied instead of linked")
    text = f"DVC's cache {path}: {'; '.join(problems) or 'shared with the group'}"
    yield Finding(level="warning" if problems else "good", check="team", text=text)
