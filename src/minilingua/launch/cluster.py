"""``slurm/clusters/<name>.yaml``: where heavy stages run. Where, never what.

MINILINGUA_CLUSTER ─► <name>.yaml ─────────────────┐
MINILINGUA_LAUNCHER, _CONTAINER, _IMAGE override ──┴─► Cluster

The place comes from the environment and these files, never from params.yaml: the same stage has the
same hash on a laptop and on a cluster. Porting to another cluster is one more file.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from minilingua.core.errors import LaunchError, did_you_mean

CLUSTER_VARIABLE = "MINILINGUA_CLUSTER"
OVERRIDES = {
    "launcher": "MINILINGUA_LAUNCHER",
    "container": "MINILINGUA_CONTAINER",
    "image": "MINILINGUA_IMAGE",
}
"""Key of the cluster file ─► variable that overrides it."""
CLUSTERS = Path("slurm/clusters")
DEFAULT_CLUSTER = "local"

LauncherName = Literal["local", "slurm"]
ContainerName = Literal["bare", "apptainer", "docker"]
StageName = Literal["data", "train", "convert", "evaluate", "pipeline"]

_WITHOUT_GPUS = frozenset({"data", "pipeline"})
"""Scripts that run data stages, which have no place on a GPU partition."""
_TIME = re.compile(r"(?:(\d+)-)?(\d{1,2}):(\d{2}):(\d{2})")
_MEMORY = re.compile(r"\d+[MGT]")


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


Word = Annotated[str, Field(pattern=r"^[\w.,:+-]+$")]
"""A name of Slurm's: one word, so that a directive holds what it says and nothing else."""
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]
Variables = Annotated[tuple[Variable, ...], BeforeValidator(_as_tuple)]
Words = Annotated[tuple[Word, ...], BeforeValidator(_as_tuple)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Resources(_Section):
    """What a job of one stage asks for."""

    partition: Word
    time: str
    """Limit of one attempt, ``[D-]HH:MM:SS``. A training that is not finished requeues itself."""
    cpus: Annotated[int, Field(ge=1)]
    """CPU cores of one task."""
    memory: str
    """Of one node, with its unit: ``500G``."""
    nodes: Annotated[int, Field(ge=1)] = 1
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of one node; a training has one task a GPU."""
    gpu_type: Word | None = None
    """As the partition calls it, such as ``h200``."""
    tasks: Annotated[int, Field(ge=1)] | None = None
    """Tasks of one node; by default one a GPU, or one."""

    @property
    def tasks_per_node(self) -> int:
        """Processes of a training on one node."""
        return self.tasks or max(self.gpus, 1)

    @property
    def seconds(self) -> int:
        """``time`` in seconds."""
        match = _TIME.fullmatch(self.time)
        assert match is not None  # validated below
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds

    @model_validator(mode="after")
    def _written_as_slurm_reads_it(self) -> "Resources":
        if not _TIME.fullmatch(self.time):
            raise ValueError(f"time: expected [D-]HH:MM:SS, found {self.time!r}")
        if not _MEMORY.fullmatch(self.memory):
            raise ValueError(f"memory: expected a number with M, G or T, found {self.memory!r}")
        return self


class Slurm(_Section):
    """How jobs are submitted."""

    stages: dict[StageName, Resources]
    account: Word | None = None
    gpu_partitions: Words = ()
    """Partitions that jobs without GPUs have to keep away from."""
    modules: Names = ()
    """Environment modules that a job loads."""
    save_before_limit: Annotated[int, Field(ge=1)] = 300
    """Seconds before the limit at which a training saves and requeues itself."""
    poll: Annotated[float, Field(gt=0)] = 10.0
    """Seconds between two questions to Slurm while a job is followed."""

    @model_validator(mode="after")
    def _stages_are_where_they_may_be(self) -> "Slurm":
        for name, resources in self.stages.items():
            if name in _WITHOUT_GPUS and resources.gpus:
                raise ValueError(
                    f"stages.{name}: runs data stages, which need no GPU, and asks for "
                    f"{resources.gpus}; train, convert and evaluate are jobs of their own"
                )
            if resources.gpus == 0 and resources.partition in self.gpu_partitions:
                raise ValueError(
                    f"stages.{name}: asks for no GPU, but {resources.partition} is a GPU partition"
                )
            if resources.seconds <= self.save_before_limit and name in {"train", "pipeline"}:
                raise ValueError(
                    f"stages.{name}: a limit of {resources.time} is too short to save anything: "
                    f"the training is stopped {self.save_before_limit} s (save_before_limit) "
                    "before it"
                )
        return self


class Cluster(_Section):
    """A cluster file."""

    launcher: LauncherName
    container: ContainerName = "bare"
    """What a stage runs in."""
    image: str | None = None
    """SIF, or name of a Docker image. ``${NAME}`` is taken from the environment, here and below."""
    gpus: bool = False
    """Give containers the machine's GPUs."""
    binds: Names = ()
    """Directories that containers see at the same path, besides the checkout."""
    environment: Variables = ()
    """Variables that containers are given; no others."""
    scratch: str | None = None
    """Directory for caches and temporary files of containers; by default ``runs/scratch``."""
    slurm: Slurm | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Cluster":
        if self.launcher == "slurm" and self.slurm is None:
            raise ValueError("launcher: slurm needs the section 'slurm'")
        if self.container != "bare" and not self.image:
            raise ValueError(f"container: {self.container} needs an 'image'")
        return self

    def resources(self, stage: StageName) -> Resources:
        """Returns what a stage asks for.

        Raises:
            LaunchError: the file does not say.
        """
        assert self.slurm is not None
        if stage not in self.slurm.stages:
            raise LaunchError(f"the cluster file has no slurm.stages.{stage}")
        return self.slurm.stages[stage]

    def expanded(self, environment: Mapping[str, str] = os.environ) -> "Cluster":
        """Returns it with ``${NAME}`` replaced in paths.

        Raises:
            LaunchError: the environment has no such variable.
        """

        def expand(text: str | None) -> str | None:
            if text is None:
                return None
            return re.sub(r"\$\{(\w+)\}", lambda match: look_up(match[1], text), text)

        def look_up(name: str, text: str) -> str:
            if name not in environment:
                raise LaunchError(f"{text}: the environment has no variable {name}")
            return environment[name]

        return self.model_copy(
            update={
                "image": expand(self.image),
                "scratch": expand(self.scratch),
                "binds": tuple(str(expand(bind)) for bind in self.binds),
            }
        )


def chosen_cluster() -> str:
    """Returns the name that the environment gives, ``local`` without one."""
    return os.environ.get(CLUSTER_VARIABLE) or DEFAULT_CLUSTER


def cluster_file(name: str) -> Path:
    """Returns where a cluster is described."""
    return CLUSTERS / f"{name}.yaml"


def read_cluster(name: str, environment: Mapping[str, str] = os.environ) -> Cluster:
    """Reads ``slurm/clusters/<name>.yaml``; the default cluster needs no file.

    Raises:
        LaunchError: no such file, or it or the environment says something that is not allowed.
    """
    path = cluster_file(name)
    raw = _read_yaml(path, name)
    for key, variable in OVERRIDES.items():
        if environment.get(variable):
            raw[key] = environment[variable]
    try:
        return Cluster.model_validate(raw)
    except ValidationError as error:
        # A misspelt key is reported rather than the key that is missing because of it.
        first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        raise LaunchError(f"{path}: {_explain(first)}") from error


def _read_yaml(path: Path, name: str) -> dict[str, Any]:
    if not path.is_file():
        if name == DEFAULT_CLUSTER:
            return {"launcher": "local"}
        known = sorted({DEFAULT_CLUSTER, *(file.stem for file in CLUSTERS.glob("*.yaml"))})
        raise LaunchError(
            f"{CLUSTER_VARIABLE}={name}: {path} is missing; "
            f"there are: {', '.join(known)}{did_you_mean(name, known)}"
        )
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (YAMLError, UnicodeDecodeError) as error:
        raise LaunchError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict) or "launcher" not in raw:
        raise LaunchError(f"{path}: expected a key 'launcher', found {raw!r}")
    return raw


def _explain(item: Any) -> str:
    """Returns one line about a pydantic error: key, what is wrong, what is allowed."""
    place = [str(part) for part in item["loc"] if part != "[key]"]
    key, found = ".".join(place), item["input"]
    kind = item["type"]
    if kind == "extra_forbidden":
        allowed = _fields_at(place[:-1])
        return f"unknown key {key!r}{did_you_mean(place[-1], allowed)}"
    if kind == "literal_error":
        literal = {"launcher": LauncherName, "container": ContainerName}.get(place[-1], StageName)
        allowed = list(get_args(literal))
        what = place[-1] if place[-1] in {"launcher", "container"} else "stage"
        return (
            f"{key}: unknown {what} {found!r}; allowed: {', '.join(allowed)}"
            f"{did_you_mean(str(found), allowed)}"
        )
    if kind == "string_pattern_mismatch":
        return f"{key}: expected one word of letters and digits, found {found!r}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def _fields_at(place: list[str]) -> list[str]:
    if not place:
        return list(Cluster.model_fields)
    return list(Slurm.model_fields if len(place) == 1 else Resources.model_fields)
