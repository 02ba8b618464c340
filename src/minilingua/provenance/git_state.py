"""The state of the code, from git."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

LARGEST_PATCH = 1 << 20
"""Bytes of a patch that a passport holds; more is no patch but another version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GitState:
    """A commit and what differs from it."""

    commit: str | None
    """None outside a git repository."""
    changed: tuple[str, ...]
    """Tracked files that differ from the commit and untracked ones that are not ignored."""
    untracked: tuple[str, ...]
    """Those of them that git does not have: no patch brings them back."""
    patch_sha256: str | None
    """SHA-256 of `git diff HEAD`; None where nothing tracked is changed."""
    patch: str | None
    """The patch itself, for `git apply`; None where it is too large to keep."""


def read_git_state(root: Path = Path()) -> GitState:
    """Returns the state of a repository."""
    commit = git_output("rev-parse", "HEAD", root=root)
    if commit is None:
        return GitState(commit=None, changed=(), untracked=(), patch_sha256=None, patch=None)
    status = git_output("status", "--porcelain", "--no-renames", "-z", root=root) or b""
    lines = sorted(line.decode() for line in status.split(b"\0") if line)
    patch = git_output("diff", "HEAD", "--binary", "--no-ext-diff", "--no-color", root=root) or b""
    return GitState(
        commit=commit.decode().strip(),
        changed=tuple(sorted(line[3:] for line in lines)),
        untracked=tuple(line[3:] for line in lines if line.startswith("??")),
        patch_sha256=hashlib.sha256(patch).hexdigest() if patch else None,
        patch=_text(patch) if 0 < len(patch) <= LARGEST_PATCH else None,
    )


def _text(patch: bytes) -> str | None:
    """Returns a patch as text; None where a file in it is in another encoding than UTF-8."""
    try:
        return patch.decode()
    except UnicodeDecodeError:
        return None


def git_output(*arguments: str, root: Path = Path(), given: bytes | None = None) -> bytes | None:
    """Returns what git prints; None where it fails or is not there.

    Args:
        arguments: of git; a text from outside has to follow ``--end-of-options``.
        root: a directory of the repository.
        given: standard input.
    """
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and options end before what users write
            ["git", "-C", str(root), *arguments],  # noqa: S607 - whichever git the user has
            input=given or b"",
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
