"""The places where a heavy stage can run: one protocol, one table, read from a cluster file.

The place comes from the environment and ``slurm/clusters/<name>.yaml``, never from params.yaml:
the same stage has the same hash on a laptop and on a cluster.
"""

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from minilingua.core.errors import LaunchError, did_you_mean

CLUSTER_VARIABLE = "MINILINGUA_CLUSTER"
CLUSTERS = Path("slurm/clusters")
DEFAULT_CLUSTER = "local"

LAUNCHERS: Mapping[str, str] = {"local": "minilingua.launch.local:LocalLauncher"}
"""Name in a cluster file ─► ``module:class``, loaded only when chosen."""


class Launcher(Protocol):
    """Runs one command at its place."""

    def run(self, command: Sequence[str], started: Callable[[int], None]) -> int:
        """Runs the command, waits for it and returns its exit code.

        Args:
            command: program and arguments.
            started: called once with the id of a process on this machine that lives as long as
                the command does.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster file."""

    launcher: str
    """A key of ``LAUNCHERS``."""


def chosen_cluster() -> str:
    """Returns the name that the environment gives, ``local`` without one."""
    return os.environ.get(CLUSTER_VARIABLE) or DEFAULT_CLUSTER


def read_cluster(name: str) -> Cluster:
    """Reads ``slurm/clusters/<name>.yaml``; the default cluster needs no file.

    Raises:
        LaunchError: no such file, or it holds an unknown key or launcher.
    """
    path = CLUSTERS / f"{name}.yaml"
    if not path.is_file():
        if name == DEFAULT_CLUSTER:
            return Cluster(launcher="local")
        known = sorted({DEFAULT_CLUSTER, *(file.stem for file in CLUSTERS.glob("*.yaml"))})
        raise LaunchError(
            f"{CLUSTER_VARIABLE}={name}: {path} is missing; "
            f"there are: {', '.join(known)}{did_you_mean(name, known)}"
        )
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise LaunchError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict) or "launcher" not in raw:
        raise LaunchError(f"{path}: expected a key 'launcher', found {raw!r}")
    allowed = list(Cluster.__dataclass_fields__)
    for key in raw:
        if key not in allowed:
            raise LaunchError(f"{path}: unknown key {key!r}{did_you_mean(str(key), allowed)}")
    launcher = str(raw["launcher"])
    if launcher not in LAUNCHERS:
        raise LaunchError(
            f"{path}: launcher: unknown launcher {launcher!r}; "
            f"allowed: {', '.join(LAUNCHERS)}{did_you_mean(launcher, LAUNCHERS)}"
        )
    return Cluster(launcher=launcher)


def load_launcher(cluster: Cluster) -> Launcher:
    """Returns the launcher that a cluster file names."""
    module, _, name = LAUNCHERS[cluster.launcher].partition(":")
    launcher: Launcher = getattr(importlib.import_module(module), name)()
    return launcher
