"""What this process runs on: Python, packages, processor."""

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from minilingua.core.machine import cpu_name


def describe_environment() -> dict[str, Any]:
    """Returns versions and hardware; no host name, path or time."""
    return {
        "python": platform.python_version(),
        "packages": _package_versions(),
        "platform": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_name(),
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
