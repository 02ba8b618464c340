"""Runs a stage as a Slurm job. A call may die and be repeated: there is one job all the same.

    intent on disk ─► sbatch ─► id on disk ─► follow log, progress, state ─► verdict
          └───────────── a second call finds the job here and follows it ─────┘

Ctrl-C leaves the job alone: the next `dvc repro` follows it again, `minilingua cancel` ends it.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from minilingua.core.errors import LaunchError
from minilingua.core.files import write_text
from minilingua.launch.cluster import Cluster, StageName
from minilingua.launch.job_view import LogView, ProgressView, say
from minilingua.launch.launch_lock import launch_lock
from minilingua.launch.program import prepare_scratch
from minilingua.launch.sbatch import render
from minilingua.launch.script import Place
from minilingua.launch.slurm_client import (
    HOPELESS,
    JobState,
    SlurmUnreachableError,
    Usage,
    find_by_name,
    job_state,
    job_usage,
    last_lines,
    require_slurm,
    submit,
)
from minilingua.launch.submission import (
    Submission,
    job_directory,
    read_completion,
    read_submission,
    settle,
    write_submission,
)
from minilingua.launch.verdict import Verdict, judge
from minilingua.training.run_directory import open_run

_GLANCE = 0.5
"""Seconds between two looks at the job's files, which cost Slurm nothing."""
_PATIENCE = 900.0
"""Seconds for which Slurm may be out of reach before that is told and the job left alone."""
_RECORD_DELAY = 60.0
"""Seconds that accounting and a shared file system may lag behind the end of a job."""
_TOLD = re.compile(r"(?:train|minilingua|job): error: (.*)")
"""How the worker, a stage or the job's script says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What is to run."""

    name: StageName
    key: str
    """Of its inputs and parameters: the same key is the same job."""
    run: Path | None = None
    """Run directory, of a training."""
    steps: int | None = None
    """Optimizer steps of a training, for the progress bar."""
    image_digest: str | None = None
    """Of the image that it runs in."""


class SlurmLauncher:
    """Submits to Slurm, or follows what was submitted before."""

    def __init__(self, cluster: Cluster, source: str) -> None:
        assert cluster.slurm is not None
        self._cluster = cluster
        self._source = source
        self._poll = cluster.slurm.poll

    def run(
        self, stage: Stage, has_result: Callable[[], bool], started: Callable[[], None]
    ) -> None:
        """Returns when the stage's job has ended well.

        Args:
            stage: what to run.
            has_result: tells whether the result of an earlier good job is still there.
            started: called when the job has begun to work.

        Raises:
            LaunchError: Slurm refuses the job, or it failed; the message has the cause.
            RunBusyError: another process follows it.
        """
        require_slurm()
        directory = job_directory(stage.name, stage.key)
        with launch_lock(directory) as renew:
            submission = self._resume(directory, has_result)
            if submission is None:
                submission = self._submit(stage, directory)
            assert submission.job is not None
            try:
                state = self._follow(stage, directory, submission.job, renew, started)
            except KeyboardInterrupt:
                say(
                    f"job {submission.job} goes on; `dvc repro` follows it again, "
                    "`minilingua cancel` ends it"
                )
                raise
            self._conclude(stage, directory, submission, state)

    def _resume(self, directory: Path, has_result: Callable[[], bool]) -> Submission | None:
        """Returns the submission to follow, or None if there has to be a new one."""
        submission = read_submission(directory)
        if submission is None:
            return None
        if submission.job is None:  # we died between the intent and the answer
            found = find_by_name(submission.name, Path.cwd())
            if found is None:
                return None
            submission = replace(submission, job=found)
            write_submission(directory, submission)
        assert submission.job is not None
        state = job_state(submission.job)
        if state.is_live:
            say(f"following job {submission.job} again ({describe(state)})")
            return submission
        if judge(submission.job, state, read_completion(directory)).is_good and has_result():
            say(f"job {submission.job} has ended well")
            return submission
        if not submission.is_settled:
            verdict = self._verdict(directory, submission.job, state)
            if not verdict.is_good:
                say(f"job {submission.job} {verdict.cause}; submitting another")
        return None

    def _submit(self, stage: Stage, directory: Path) -> Submission:
        earlier = read_submission(directory)
        submission = Submission(
            stage=stage.name, key=stage.key, number=earlier.number + 1 if earlier else 1
        )
        log = f"{directory}/job-%j.log"
        place = Place(
            repository=Path.cwd(),
            directory=str(directory),
            log=log,
            name=submission.name,
            run=str(stage.run) if stage.run else None,
            image_digest=stage.image_digest,
        )
        script = directory / f"{stage.name}.sbatch"
        write_text(script, render(stage.name, self._cluster, place, self._source))
        prepare_scratch(self._cluster, place.repository)
        write_submission(directory, submission)
        job = submit(script, submission.name, log, self._exported())
        submission = replace(submission, job=job)
        write_submission(directory, submission)
        say(f"submitted job {job} ({stage.name}); its log is {log.replace('%j', str(job))}")
        return submission

    def _exported(self) -> str:
        """A bare job has our environment; of a container's, only what is listed gets that far."""
        if self._cluster.container == "bare":
            return "ALL"
        return ",".join(("PATH", "HOME", "USER", "LANG", *self._cluster.environment))

    def _follow(
        self,
        stage: Stage,
        directory: Path,
        job: int,
        renew: Callable[[], None],
        started: Callable[[], None],
    ) -> JobState:
        """Shows what the job does until Slurm says that it has ended."""
        log = LogView(directory / f"job-{job}.log")
        log.skip_old()
        progress = ProgressView(stage.run, stage.steps)
        is_started = False
        shown = ""
        asked: float | None = None
        reached = time.monotonic()
        state = JobState(state="PENDING")
        try:
            while True:
                completion = read_completion(directory)
                has_ended = completion is not None and completion.job == job
                if asked is None or has_ended or time.monotonic() - asked >= self._poll:
                    renew()
                    try:
                        state = job_state(job)
                        reached = time.monotonic()
                    except SlurmUnreachableError as error:
                        if time.monotonic() - reached > _PATIENCE:
                            raise LaunchError(
                                f"Slurm has not answered for {_PATIENCE:.0f} s ({error}); job "
                                f"{job} may be running: `dvc repro` follows it again"
                            ) from error
                        say(f"Slurm does not answer ({error}); asking again")
                    asked = time.monotonic()
                    if not state.is_live:
                        log.show_rest()
                        return state
                    if (text := describe(state)) != shown:
                        say(f"job {job}: {text}")
                        shown = text
                if not is_started and state.state == "RUNNING" and _has_run(stage):
                    is_started = True
                    started()
                log.show_new()
                progress.show()
                time.sleep(_GLANCE)
        finally:
            progress.close()

    def _conclude(
        self, stage: Stage, directory: Path, submission: Submission, state: JobState
    ) -> None:
        assert submission.job is not None
        verdict = self._verdict(directory, submission.job, state)
        usage = job_usage(submission.job)
        used = ""
        if usage is not None:
            used = f" ({usage.attempts} attempt(s), {usage.gpu_hours:.2f} GPU-hours)"
            _record(stage, submission.job, usage)
        if verdict.is_good:
            say(f"job {submission.job} ended well{used}")
            return
        settle(directory, submission)
        log = directory / f"job-{submission.job}.log"
        told = [found[1] for line in last_lines(log, 20) if (found := _TOLD.match(line))]
        said = f": {told[-1]}" if told else ""
        raise LaunchError(
            f"job {submission.job} {verdict.cause}{said}{used}; its log is {log}; "
            "`dvc repro` goes on from what it saved"
        )

    def _verdict(self, directory: Path, job: int, state: JobState) -> Verdict:
        """Waits for accounting and the file system to catch up, then judges."""
        deadline = time.monotonic() + min(_RECORD_DELAY, 3 * self._poll)
        while True:
            completion = read_completion(directory)
            verdict = judge(job, state, completion)
            is_late = state.state in {"COMPLETED", "UNKNOWN"} and not verdict.is_good
            if not is_late or time.monotonic() > deadline:
                return verdict
            time.sleep(_GLANCE)
            state = job_state(job)


def _record(stage: Stage, job: int, usage: Usage) -> None:
    """Adds what a job has used to the telemetry of its training."""
    if stage.run is None or not _has_run(stage):
        return
    telemetry = open_run(stage.key).telemetry
    telemetry.write("job", job=job, attempts=usage.attempts, gpu_hours=usage.gpu_hours)


def _has_run(stage: Stage) -> bool:
    return stage.run is None or (stage.run / "run.json").exists()


def describe(state: JobState) -> str:
    """Returns a state in a few words."""
    word = state.state.lower()
    if state.state != "PENDING":
        return f"{word} on {state.node}" if state.node else word
    reason = state.reason.strip("()")
    if any(reason.startswith(name) for name in HOPELESS):
        return f"waiting ({reason}); this may never change: see slurm.stages, `minilingua cancel`"
    return f"waiting ({reason})" if reason not in {"", "None"} else "waiting"
