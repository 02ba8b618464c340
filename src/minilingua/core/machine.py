"""What runs here and from which code, as files tell it; no program is started."""

import platform
import re
from pathlib import Path

IMAGE_DIGEST_VARIABLE = "MINILINGUA_IMAGE_DIGEST"
"""Names the image to what runs in it, which cannot see it from the inside."""

_CPU = Path("/proc/cpuinfo")
_DRIVER = Path("/proc/driver/nvidia/version")


def cpu_name() -> str:
    """Returns the processor's name."""
    try:
        text = _CPU.read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    found = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return found[1] if found else platform.processor()


def nvidia_driver(version_file: Path = _DRIVER) -> str | None:
    """Returns the version of NVIDIA's kernel driver; None without one."""
    try:
        text = version_file.read_text(encoding="utf-8")
    except OSError:
        return None
    # The open module names the architecture first: "for x86_64".
    found = re.search(r"Kernel Module(?: for \S+)?\s+(\d+(?:\.\d+)+)", text)
    return found[1] if found else None


def checked_out_commit(root: Path = Path()) -> str | None:
    """Returns the commit of a checkout, also where there is no git, as in an image; else None."""
    try:
        git = root / ".git"
        if git.is_file():  # a worktree
            git = root / git.read_text(encoding="utf-8").removeprefix("gitdir:").strip()
        head = (git / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head or None
        name = head.removeprefix("ref: ")
        shared = git / "commondir"
        common = git / shared.read_text(encoding="utf-8").strip() if shared.exists() else git
        if (common / name).exists():
            return (common / name).read_text(encoding="utf-8").strip()
        packed = (common / "packed-refs").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((line.split()[0] for line in packed if line.endswith(f" {name}")), None)
