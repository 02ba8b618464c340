"""The command ``minilingua node``: what a job finds on its node, before it trains.

It loads neither torch nor CUDA's runtime: libraries are opened, asked for their version, and left.
"""

import argparse
import ctypes
import json
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from minilingua.core.errors import LaunchError
from minilingua.core.events import TelemetryWriter, read_telemetry
from minilingua.core.machine import IMAGE_DIGEST_VARIABLE, nvidia_driver

PACKAGES = (
    "torch",
    "transformer-engine",
    "flash-attn",
    "megatron-core",
    "numpy",
    "transformers",
    "safetensors",
)
_LEAST_FREE_GB = 1.0


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what is here, one fact a line, and returns 0.

    Raises:
        LaunchError: what a training needs is missing.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua node",
        description="Print what this node offers to a training: driver and the libcuda that is "
        "loaded, NCCL, TransformerEngine, GPUs, disk, image and versions.",
    )
    parser.add_argument("--run", type=Path, help="run directory whose telemetry records it, too")
    parser.add_argument("--gpus", type=int, default=0, help="GPUs that have to be here")
    arguments = parser.parse_args(argv)
    facts = collect()
    for name, value in facts.items():
        print(f"preflight: {name}: {value}")  # noqa: T201 - the command's output
    if arguments.run is not None:
        record(arguments.run, facts)
    require_usable(facts, arguments.gpus)
    return 0


def collect() -> dict[str, Any]:
    """Returns what is here; JSON types only."""
    usage = shutil.disk_usage(".")
    return {
        "host": platform.node(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "python": platform.python_version(),
        "image_digest": os.environ.get(IMAGE_DIGEST_VARIABLE) or None,
        "driver": nvidia_driver(),
        **_libcuda(),
        "nccl": _nccl(),
        "gpus": _gpus(),
        "disk_free_gb": round(usage.free / 1e9, 1),
        "quota": quota(),
        "packages": _packages(),
    }


def record(run: Path, facts: dict[str, Any]) -> None:
    """Appends the facts to a run's telemetry, as those of its next attempt."""
    path = run / "telemetry.jsonl"
    starts = [r.get("attempt", 0) for r in read_telemetry(path) if r.get("kind") == "start"]
    writer = TelemetryWriter(path=path, attempt=1 + max(starts, default=0), started=time.time())
    writer.write(
        "preflight",
        **{k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in facts.items()},
    )


def require_usable(facts: dict[str, Any], gpus: int) -> None:
    """Refuses a node on which a training would fail later.

    Raises:
        LaunchError: GPUs, their driver or disk space are missing.
    """
    if gpus and facts["libcuda"] is None:
        raise LaunchError(
            f"{gpus} GPU(s) were asked for, but libcuda.so.1 cannot be loaded on "
            f"{facts['host']}: is `gpus: true` in the cluster file, and the driver there?"
        )
    if gpus > len(facts["gpus"]):
        raise LaunchError(f"{gpus} GPU(s) were asked for, {facts['host']} shows {facts['gpus']}")
    if facts["disk_free_gb"] < _LEAST_FREE_GB:
        raise LaunchError(
            f"only {facts['disk_free_gb']} GB are free in {Path.cwd()} on {facts['host']}"
        )


def _libcuda() -> dict[str, Any]:
    """Which libcuda a process here gets, and the CUDA version that it supports."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return {"libcuda": None, "cuda": None}
    number = ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(number))
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    loaded = re.search(r"(/\S*libcuda\.so\S*)", maps)
    return {
        "libcuda": loaded[1] if loaded else "libcuda.so.1",
        "cuda": f"{number.value // 1000}.{number.value % 1000 // 10}",
    }


def _nccl() -> str | None:
    try:
        library = ctypes.CDLL("libnccl.so.2")
    except OSError:
        return None
    number = ctypes.c_int(0)
    library.ncclGetVersion(ctypes.byref(number))
    return f"{number.value // 10000}.{number.value % 10000 // 100}.{number.value % 100}"


def _gpus() -> list[str]:
    return _lines("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader")


def quota() -> str | None:
    """Returns the user's quota, where the file system has one and tells."""
    # Its exit code is not 0 when a quota is exceeded, which is when it matters.
    lines = _lines("quota", "--human-readable", "--no-wrap", codes=(0, 1))
    return " | ".join(" ".join(line.split()) for line in lines) or None


def _lines(*command: str, codes: Sequence[int] = (0,)) -> list[str]:
    if shutil.which(command[0]) is None:
        return []
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands
            command, capture_output=True, text=True, check=False, timeout=30
        )
    except subprocess.TimeoutExpired:
        return []
    return done.stdout.strip().splitlines() if done.returncode in codes else []


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
