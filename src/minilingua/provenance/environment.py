"""What this process runs on: Python, packages, processor."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any


def describe_environment() -> dict[str, Any]:
    """Returns versions and hardware; no host name, path or time."""
    return {
        "python": platform.python_version(),
        "packages": _package_versions(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
    }


def _package_versions() -> dict[str, str]:
    """Versions of what the project requires, extras where installed."""
    versions = {"minilingua": version("minilingua")}
    for requirement in requires("minilingua") or ():
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return dict(sorted(versions.items()))


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return found[1] if found else platform.processor()
