"""Commands as they are run bare, in Apptainer or in Docker. Pure functions of the cluster file.

train ─┬─ bare ──────► python -m minilingua.training.worker
       ├─ apptainer ─► apptainer exec --cleanenv --no-home --bind .. IMAGE train
       └─ docker ────► docker run --rm --read-only --user .. --volume .. IMAGE train

A container sees the checkout and the listed directories at their own paths, the listed variables,
and nothing else of the machine: neither its home nor its Python path.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from minilingua.core.errors import LaunchError
from minilingua.launch.cluster import Cluster

DEFAULT_SCRATCH = "runs/scratch"
_COMPAT = "cuda-compat"
_COMPAT_IN_IMAGE = "/usr/local/cuda/compat/lib"
"""First in NGC's library path; a read-only image cannot correct what it points to."""
DRIVER = "/.singularity.d/libs/libcuda.so"
"""The machine's driver, as ``--nv`` binds it."""
_SHARED_MEMORY = "16g"

_ALWAYS = ("MINILINGUA_TRACKING", "MINILINGUA_IMAGE_DIGEST", "MINILINGUA_RANKS", "DVC_STAGE")
FOREIGN = ("APPTAINERENV_", "SINGULARITYENV_", "APPTAINER_BIND", "SINGULARITY_BIND")
"""Beginnings of variables by which the caller's environment would reach into a container."""
_RANK = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program of this project: as it is called in an image, and as a Python module."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()


TRAIN = Program(name="train", module="minilingua.training.worker")
LAUNCHED_INSIDE = Program(name="minilingua", module="minilingua", arguments=("train",))
"""The training as several ranks of one machine, which the launcher in the image starts."""
PREFLIGHT = Program(name="minilingua", module="minilingua", arguments=("node",))


def stage_program(stage: str) -> Program:
    """Returns the program that runs a stage where it is started."""
    if stage == "train":
        return TRAIN
    return Program(name="minilingua", module="minilingua", arguments=(stage,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is executed."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    """Set in addition to the caller's environment."""
    passed: tuple[str, ...] = ()
    """Variables whose value at that moment reaches the container."""


def bare(program: Program) -> Command:
    """Returns the command in this Python environment."""
    return Command(
        arguments=(sys.executable, "-m", program.module, *program.arguments), environment={}
    )


def command(program: Program, cluster: Cluster, repository: Path) -> Command:
    """Returns the command that runs a program as the cluster file says.

    Args:
        program: what to run.
        cluster: the cluster file, expanded.
        repository: the checkout, absolute.

    Raises:
        LaunchError: a container cannot be given a directory of such a name.
    """
    if cluster.container != "bare":
        _require_bindable(repository, scratch_directory(cluster, repository))
    if cluster.container == "apptainer":
        return _apptainer(program, cluster, repository)
    if cluster.container == "docker":
        return _docker(program, cluster, repository)
    return bare(program)


def _require_bindable(*directories: Path) -> None:
    for directory in directories:
        if found := set(":,") & set(str(directory)):
            raise LaunchError(
                f"{directory}: a path with {min(found)!r} cannot be bound into a container; "
                "rename the directory"
            )


def scratch_directory(cluster: Cluster, repository: Path) -> Path:
    """Returns where containers keep caches and temporary files."""
    scratch = cluster.scratch or DEFAULT_SCRATCH
    # What begins with a variable that a script's shell expands, such as ${HOME}, is a whole path.
    return Path(scratch) if scratch.startswith("${") else repository / scratch


def prepare_scratch(cluster: Cluster, repository: Path) -> None:
    """Makes the directories that a container's command binds."""
    scratch = scratch_directory(cluster, repository)
    for name in ("cache", "tmp", _COMPAT):
        (scratch / name).mkdir(parents=True, exist_ok=True)
    for suffix in ("", ".1"):
        link = scratch / _COMPAT / f"libcuda.so{suffix}"
        if not link.is_symlink():
            link.symlink_to(f"{DRIVER}{suffix}")


def _caches(scratch: Path) -> dict[str, str]:
    cache = scratch / "cache"
    return {
        "HF_HOME": str(cache / "huggingface"),
        "MPLCONFIGDIR": str(cache / "matplotlib"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "XDG_CACHE_HOME": str(cache),
    }


def _passed(cluster: Cluster) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*_ALWAYS, *_RANK, *cluster.environment)))


def _apptainer(program: Program, cluster: Cluster, repository: Path) -> Command:
    scratch = scratch_directory(cluster, repository)
    binds = [str(repository), *cluster.binds, str(scratch), f"{scratch / 'tmp'}:/tmp"]
    arguments = ["apptainer", "exec", "--cleanenv", "--no-home"]
    if cluster.gpus:
        arguments.append("--nv")
        binds.append(f"{scratch / _COMPAT}:{_COMPAT_IN_IMAGE}")
    for bind in dict.fromkeys(binds):
        arguments += ["--bind", bind]
    arguments += ["--pwd", str(repository), str(cluster.image), program.name, *program.arguments]
    return Command(
        arguments=tuple(arguments),
        environment={f"APPTAINERENV_{name}": value for name, value in _caches(scratch).items()},
        passed=_passed(cluster),
    )


def _docker(program: Program, cluster: Cluster, repository: Path) -> Command:
    scratch = scratch_directory(cluster, repository)
    arguments = ["docker", "run", "--rm", "--init", "--read-only", "--network", "host"]
    arguments += ["--user", f"{os.getuid()}:{os.getgid()}", "--shm-size", _SHARED_MEMORY]
    arguments += ["--workdir", str(repository), "--volume", f"{scratch / 'tmp'}:/tmp"]
    for bind in dict.fromkeys((str(repository), *cluster.binds, str(scratch))):
        arguments += ["--volume", bind if ":" in bind else f"{bind}:{bind}"]
    if cluster.gpus:
        arguments += ["--gpus", "all"]
    for name, value in {"HOME": "/tmp", **_caches(scratch)}.items():  # noqa: S108 - in the container
        arguments += ["--env", f"{name}={value}"]
    for name in _passed(cluster):  # by name alone: values, such as tokens, stay out of `ps`
        arguments += ["--env", name]
    arguments += [str(cluster.image), program.name, *program.arguments]
    return Command(arguments=tuple(arguments), environment={})


def with_passed(command: Command, environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment of a command: the caller's, its own, and what is passed inside."""
    inside = {
        f"APPTAINERENV_{name}": environment[name] for name in command.passed if name in environment
    }
    ours = {name: value for name, value in environment.items() if not name.startswith(FOREIGN)}
    return {**ours, **command.environment, **inside}
