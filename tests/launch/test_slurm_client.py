from pathlib import Path

import pytest

from minilingua.core.errors import LaunchError
from minilingua.launch.slurm_client import (
    SlurmUnreachableError,
    _environment,
    _gpus,
    find_by_name,
    submit,
)


def test_gpus_are_counted_as_a_cluster_accounts_for_them() -> None:
    assert _gpus({"cpu": "8", "gres/gpu": "4", "gres/gpu:h200": "4"}) == 4
    assert _gpus({"gres/gpu:h200": "2", "gres/gpu:a100": "1", "node": "1"}) == 3
    assert _gpus({"cpu": "8"}) == 0


def test_a_job_submits_another_without_its_own_options() -> None:
    inside = {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_CONF": "/etc/x", "PATH": "/bin"}
    assert _environment(inside) == {"SLURM_CONF": "/etc/x", "PATH": "/bin"}


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all of PATH, with a queue in which nothing waits."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    _write(directory / "squeue", "exit 0")
    return directory


def _write(program: Path, body: str) -> None:
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


def test_without_accounting_a_name_that_is_not_in_the_queue_is_no_job(programs: Path) -> None:
    """What Slurm has refused, or has never seen, must not keep anybody from submitting."""
    assert find_by_name("x", Path.cwd()) is None
    _write(programs / "sacct", 'echo "Slurm accounting storage is disabled" >&2; exit 1')
    assert find_by_name("x", Path.cwd()) is None
    queue = f'case "$*" in *--states=all*) echo "7|{Path.cwd()}";; esac'
    _write(programs / "squeue", queue)  # it has ended
    assert find_by_name("x", Path.cwd()) == 7


def test_an_accounting_that_does_not_answer_is_not_taken_for_no_job(programs: Path) -> None:
    _write(programs / "sacct", 'echo "sacct: error: Connection refused" >&2; exit 1')
    with pytest.raises(SlurmUnreachableError, match="Connection refused"):
        find_by_name("x", Path.cwd())


@pytest.mark.parametrize("said", ["7", "7;cluster", "Your project has 3 hours left\n7"])
def test_the_id_of_a_job_is_found_in_what_sbatch_says(programs: Path, said: str) -> None:
    _write(programs / "sbatch", f"echo '{said}'")
    assert submit(Path("x"), "x", "x", "ALL") == 7


def test_an_sbatch_that_names_no_job_is_one_line(programs: Path) -> None:
    _write(programs / "sbatch", "echo Your project has 3 hours left")
    with pytest.raises(LaunchError, match=r"sbatch names no job: Your .*finds it by its name"):
        submit(Path("x"), "x", "x", "ALL")
