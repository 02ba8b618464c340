"""The state of the code, from git."""

import hashlib
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class GitState:
    """A commit and what differs from it."""

    commit: str | None
    """None outside a git repository."""
    changed: tuple[str, ...]
    """Tracked files that differ from the commit and untracked ones that are not ignored."""
    patch_sha256: str | None
    """SHA-256 of `git diff HEAD`; None where nothing tracked is changed."""


def read_git_state() -> GitState:
    """Returns the state of the repository in the current directory."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return GitState(commit=None, changed=(), patch_sha256=None)
    status = _git("status", "--porcelain", "--no-renames", "-z") or b""
    patch = _git("diff", "HEAD", "--binary", "--no-ext-diff", "--no-color") or b""
    return GitState(
        commit=commit.decode().strip(),
        changed=tuple(sorted(line[3:].decode() for line in status.split(b"\0") if line)),
        patch_sha256=hashlib.sha256(patch).hexdigest() if patch else None,
    )


def _git(*arguments: str) -> bytes | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - whichever git the user has
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
