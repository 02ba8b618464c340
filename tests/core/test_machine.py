import subprocess
from pathlib import Path

import pytest

from minilingua.core.machine import checked_out_commit, cpu_name, nvidia_driver


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    root.mkdir()
    git(root, "init", "-q")
    git(root, "commit", "-q", "--allow-empty", "-m", "one")
    return root


def test_the_commit_is_the_one_that_git_tells(repository: Path) -> None:
    def agrees(root: Path) -> bool:
        return checked_out_commit(root) == git(root, "rev-parse", "HEAD")

    assert agrees(repository)
    git(repository, "pack-refs", "--all")
    assert not list((repository / ".git/refs/heads").iterdir())
    assert agrees(repository)
    other = repository.with_name("worktree")
    git(repository, "worktree", "add", "-q", "-b", "other", str(other))
    git(other, "commit", "-q", "--allow-empty", "-m", "two")
    assert agrees(other)
    assert checked_out_commit(other) != checked_out_commit(repository)
    git(other, "checkout", "-q", "--detach")
    assert agrees(other)


def test_without_a_commit_there_is_none(tmp_path: Path) -> None:
    assert checked_out_commit(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert checked_out_commit(tmp_path) is None


def test_the_driver_is_read_as_nvidia_writes_it(tmp_path: Path) -> None:
    file = tmp_path / "version"
    assert nvidia_driver(file) is None
    for line in (
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 2025\n",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\n",
    ):
        file.write_text(line + "GCC version: gcc 12.2.0\n")
        assert nvidia_driver(file) == "570.86.15"


def test_a_processor_has_a_name() -> None:
    assert cpu_name()
