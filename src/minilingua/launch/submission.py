"""What is remembered of a submitted stage, so that a second call finds the job of the first.

runs/jobs/<stage>-<key>/
    submission.json     written before the job is submitted, completed with its id after
    <stage>.sbatch      the script
    job-<id>.log        its output, of all attempts
    complete.json       written by the job when it ends
    launch.lock         held by the process that follows the job
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from minilingua.core.errors import DataError
from minilingua.core.files import write_json
from minilingua.launch.sbatch import COMPLETION
from minilingua.launch.script import JOBS

_FILE = "submission.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """The latest submission of a stage with certain inputs."""

    stage: str
    key: str
    number: int
    """1 for the first submission, then 2, .."""
    job: int | None = None
    """Slurm's id; None: the process died before it knew."""
    is_settled: bool = False
    """Its end has been told to somebody: the next call submits anew."""

    @property
    def name(self) -> str:
        """Name of the job: one for each submission, to find a job whose id was not noted."""
        return f"minilingua-{self.stage}-{self.key}-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """What the job itself says of its end."""

    job: int
    attempt: int
    exit_code: int


def job_directory(stage: str, key: str) -> Path:
    """Returns the directory of a stage's jobs."""
    return Path(JOBS) / f"{stage}-{key}"


def read_submission(directory: Path) -> Submission | None:
    """Returns the latest submission, or None without one.

    Raises:
        DataError: the record is damaged.
    """
    path = directory / _FILE
    if not path.exists():
        return None
    try:
        return TypeAdapter(Submission).validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(f"{path}: no record of a submission; remove it") from error


def write_submission(directory: Path, submission: Submission) -> None:
    """Replaces the record, safely on the disk when this returns."""
    write_json(directory / _FILE, asdict(submission))


def settle(directory: Path, submission: Submission) -> None:
    """Notes that the end of the job has been told."""
    write_submission(directory, replace(submission, is_settled=True))


def read_completion(directory: Path) -> Completion | None:
    """Returns what the job wrote at its end; None if it did not, or something else did."""
    path = directory / COMPLETION
    try:
        return TypeAdapter(Completion).validate_json(path.read_bytes(), strict=True)
    except (FileNotFoundError, ValidationError):
        return None


def all_submissions() -> list[tuple[Path, Submission]]:
    """Returns every stage's latest submission in this checkout."""
    found = []
    for path in sorted(Path(JOBS).glob(f"*/{_FILE}")):
        submission = read_submission(path.parent)
        if submission is not None:
            found.append((path.parent, submission))
    return found
