"""What became of a job: Slurm's accounting and the job's own record have to agree that it is good.

accounting COMPLETED and record with exit code 0 ─► good
anything else, also what nobody knows ────────────► failure, with its cause
"""

from dataclasses import dataclass

from minilingua.core.errors import EXIT_PREEMPTED
from minilingua.launch.slurm_client import JobState
from minilingua.launch.submission import Completion

_CAUSES = {
    "BOOT_FAIL": "its node did not start",
    "CANCELLED": "was cancelled",
    "DEADLINE": "missed its deadline",
    "NODE_FAIL": "lost its node",
    "OUT_OF_MEMORY": "was killed: it used more memory than slurm.stages grants",
    "PREEMPTED": "had to make room for another job",
    "REVOKED": "was taken over by another cluster",
    "TIMEOUT": "ran into its time limit without saving in time",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Good, or why not."""

    is_good: bool
    cause: str = ""


def judge(job: int, state: JobState, completion: Completion | None) -> Verdict:
    """Returns the verdict over a job that is not live."""
    own = completion if completion is not None and completion.job == job else None
    if state.state == "COMPLETED" and own is not None and own.exit_code == 0:
        return Verdict(is_good=True)
    return Verdict(is_good=False, cause=_cause(state, own))


def _cause(state: JobState, own: Completion | None) -> str:
    where = f" on {state.node}" if state.node and not state.node.startswith("None") else ""
    if state.state in _CAUSES:
        by = f" {state.reason}" if state.state == "CANCELLED" and state.reason else ""
        return f"{_CAUSES[state.state]}{by}{where}"
    if state.state == "UNKNOWN":
        return "is known neither to the controller nor to accounting, so it counts as failed"
    if own is not None and own.exit_code == EXIT_PREEMPTED:
        return f"was stopped before its end{where}; what it saved is kept"
    if own is not None and own.exit_code != 0:
        return f"ended with exit code {own.exit_code}{where}"
    if state.state == "COMPLETED":
        return f"ended{where} without its completion record, so it counts as failed"
    code = f", exit code {state.exit_code}" if state.exit_code else ""
    return f"died{where} before it could say why ({state.state}{code})"
