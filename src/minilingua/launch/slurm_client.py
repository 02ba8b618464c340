"""Slurm's commands: submit, ask, cancel. What they print becomes values or one clear line."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minilingua.core.errors import LaunchError

_TIME_OUT = 60
_NO_ANSWER = 124
_NO_PROGRAM = 127
LIVE = frozenset(
    {
        "PENDING",
        "CONFIGURING",
        "RUNNING",
        "COMPLETING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "RESIZING",
        "SIGNALING",
        "SPECIAL_EXIT",
        "STAGE_OUT",
        "STOPPED",
        "SUSPENDED",
    }
)
"""States of a job that has not ended, as ``squeue`` and ``sacct`` name them."""

HOPELESS = frozenset(
    {
        "AccountNotAllowed",
        "AssocGrpCPUMinutesLimit",
        "AssocGrpGRESMinutes",
        "BadConstraints",
        "InvalidAccount",
        "InvalidQOS",
        "JobHeldAdmin",
        "JobHeldUser",
        "launch_failed_requeued_held",
        "PartitionDown",
        "PartitionInactive",
        "PartitionNodeLimit",
        "PartitionTimeLimit",
        "QOSNotAllowed",
        "ReqNodeNotAvail",
    }
)
"""Reasons for which a job waits that time alone may never cure."""


class SlurmUnreachableError(LaunchError):
    """Slurm's daemons do not answer; a job may be running all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """What Slurm says of a job."""

    state: str
    """One word, such as ``RUNNING``; ``UNKNOWN`` if nobody knows the job."""
    reason: str = ""
    """Why it waits or has ended, where Slurm says."""
    exit_code: str = ""
    """``code:signal`` of a job that ended."""
    node: str = ""

    @property
    def is_live(self) -> bool:
        """It waits or runs."""
        return self.state in LIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the attempts of a job have used."""

    attempts: int
    gpu_hours: float
    hours: float
    """Sum of the attempts' elapsed times."""


def submit(script: Path, name: str, log: str, export: str) -> int:
    """Submits a script; returns the job's id.

    Raises:
        LaunchError: there is no Slurm here, or it refuses.
    """
    options = ["--parsable", f"--job-name={name}", f"--output={log}", f"--export={export}"]
    done = _call("sbatch", *options, str(script))
    if done.returncode == _NO_ANSWER:
        raise LaunchError(
            f"sbatch: {_last(done)}; the job may be there: the next call finds it by its name"
        )
    if done.returncode != 0:
        raise LaunchError(f"Slurm refuses the job: {_last(done)}; see slurm.stages in {_FILE}")
    # A cluster's own wrapper may say more.
    named = re.findall(r"^(\d+)(?:;.*)?$", done.stdout, re.MULTILINE)
    if not named:
        raise LaunchError(f"sbatch names no job: {_last(done)}; the next call finds it by its name")
    return int(named[-1])


_FILE = "the cluster file"


def test_submission(script: Path) -> str:
    """Asks Slurm whether it would take a script; returns what it says.

    Raises:
        LaunchError: it would not.
    """
    done = _call("sbatch", "--test-only", str(script))
    if done.returncode != 0:
        raise LaunchError(f"Slurm would refuse {script}: {_last(done)}")
    return _last(done)


def find_by_name(name: str, directory: Path) -> int | None:
    """Returns the id of the user's job of a name, waiting, running or ended; None without one.

    Args:
        name: of the job.
        directory: where it was submitted: another checkout may train the same.
    """
    # Ended ones, too, where there is no accounting: the controller remembers for some minutes.
    options = ("--noheader", "--me", "--states=all", f"--name={name}", "--format=%A|%Z")
    job = _latest_of(_ask("squeue", *options), directory)
    if job is not None:
        return job
    # Accounting looks at today only, unless it is told otherwise.
    asked = (f"--name={name}", "--starttime=now-30days", "--format=JobIDRaw,WorkDir")
    done = _call("sacct", "--noheader", "--parsable2", "-X", *asked)
    if done.returncode == _NO_PROGRAM or "accounting storage is disabled" in done.stderr:
        return None
    return _latest_of(_lines(done, "sacct"), directory)


def _latest_of(lines: Sequence[str], directory: Path) -> int | None:
    jobs = [line.partition("|") for line in lines]
    own = [job for job, _, place in jobs if Path(place).resolve() == directory.resolve()]
    return int(own[-1]) if own else None


def job_state(job: int) -> JobState:
    """Returns what the controller or, for a job that it has forgotten, accounting says.

    Raises:
        SlurmUnreachableError: neither answers.
    """
    done = _call("squeue", "--noheader", f"--jobs={job}", "--states=all", "--format=%T|%r|%N")
    if done.returncode == 0 and done.stdout.strip():
        state, reason, node = done.stdout.strip().splitlines()[-1].split("|")
        if state in LIVE:
            return JobState(state=state, reason=reason, node=node)
    elif done.returncode != 0 and "Invalid job id" not in done.stderr:
        raise SlurmUnreachableError(f"squeue: {_last(done)}")
    return _ended_state(job)


def _ended_state(job: int) -> JobState:
    fields = "State,ExitCode,Reason,NodeList"
    done = _call("sacct", "--noheader", "--parsable2", "-X", f"--jobs={job}", f"--format={fields}")
    if done.returncode == 0 and done.stdout.strip():
        state, code, reason, node = done.stdout.strip().splitlines()[-1].split("|")
        word, _, by = state.partition(" ")  # CANCELLED by 1000
        return JobState(
            state=word,
            exit_code=code,
            reason=by or ("" if reason == "None" else reason),
            node=node,
        )
    # A cluster without accounting: the controller remembers for some minutes.
    shown = _call("scontrol", "--oneliner", "show", "job", str(job))
    if shown.returncode == 0:
        words = dict(part.split("=", 1) for part in shown.stdout.split() if "=" in part)
        return JobState(
            state=words.get("JobState", "UNKNOWN"),
            exit_code=words.get("ExitCode", ""),
            reason=words.get("Reason", ""),
            node=words.get("NodeList", ""),
        )
    if done.returncode != 0 and "Invalid job id" not in shown.stderr:
        raise SlurmUnreachableError(f"sacct: {_last(done)}")
    return JobState(state="UNKNOWN")


def job_usage(job: int) -> Usage | None:
    """Returns what all attempts of a job have used, or None where nothing is accounted."""
    try:
        rows = _ask(
            "sacct",
            "--noheader",
            "--parsable2",
            "-X",
            "--duplicates",
            f"--jobs={job}",
            "--format=ElapsedRaw,AllocTRES",
        )
    except LaunchError:
        return None
    if not rows:
        return None
    gpu_seconds = seconds = 0
    for row in rows:
        elapsed, _, resources = row.partition("|")
        granted = dict(part.split("=", 1) for part in resources.split(",") if "=" in part)
        gpu_seconds += int(elapsed or 0) * _gpus(granted)
        seconds += int(elapsed or 0)
    return Usage(attempts=len(rows), gpu_hours=gpu_seconds / 3600, hours=seconds / 3600)


def _gpus(granted: Mapping[str, str]) -> int:
    """Clusters count GPUs as such, by type (``gres/gpu:h200``), or both."""
    if "gres/gpu" in granted:
        return int(granted["gres/gpu"])
    return sum(int(count) for name, count in granted.items() if name.startswith("gres/gpu:"))


def cancel(job: int) -> None:
    """Ends a job; its training saves if it can within Slurm's patience.

    Raises:
        LaunchError: Slurm refuses.
    """
    done = _call("scancel", str(job))
    if done.returncode != 0:
        raise LaunchError(f"job {job} cannot be cancelled: {_last(done)}")


def require_slurm() -> None:
    """Makes sure that Slurm's commands are here.

    Raises:
        LaunchError: they are not.
    """
    for name in ("sbatch", "squeue", "scancel"):
        if shutil.which(name) is None:
            raise LaunchError(
                f"{name} is not on PATH: this is no login node of a Slurm cluster; run "
                "here with MINILINGUA_CLUSTER=local, or log in to the cluster"
            )


def _ask(*command: str) -> list[str]:
    return _lines(_call(*command), command[0])


def _lines(done: "subprocess.CompletedProcess[str]", name: str) -> list[str]:
    if done.returncode != 0:
        raise SlurmUnreachableError(f"{name}: {_last(done)}")
    return [line for line in done.stdout.splitlines() if line.strip()]


def _call(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 - Slurm's own commands
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIME_OUT,
            env=_environment(os.environ),
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(command, _NO_PROGRAM, "", f"{command[0]} is not on PATH")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, _NO_ANSWER, "", f"no answer in {_TIME_OUT} s")


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Inside a job, what Slurm has set of that job would be taken for options of another one."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("SLURM_") or name in {"SLURM_CONF", "SLURM_CLUSTERS"}
    }


def _last(done: "subprocess.CompletedProcess[str]") -> str:
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    text = lines[-1] if lines else f"exit code {done.returncode}"
    return text.removeprefix("sbatch: error: ").removeprefix("Batch job submission failed: ")


def last_lines(path: Path, lines: int) -> Sequence[str]:
    """Returns the end of a log."""
    if not path.is_file():
        return []
    return path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
