"""The attempts at a training: one for each process that trained in its run directory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minilingua.provenance.training_record import OF_A_JOB, RunStatus, Training, milliseconds

_OUTCOMES: dict[str, RunStatus] = {
    "finished": "FINISHED",
    "preempted": "KILLED",
    "failed": "FAILED",
}
"""Status in the worker's last record ─► ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One process that trained."""

    number: int
    """Counted from 1."""
    status: RunStatus
    outcome: str
    """The status in words."""
    began_ms: int
    """Unix time in milliseconds."""
    ended_ms: int
    """Time of its last record, in milliseconds."""
    steps: tuple[int, int] | None
    """First and last step that it trained; None: it trained none."""
    host: str | None
    job: str | None
    """The Slurm job."""
    device: str | None

    def explain(self) -> str:
        """Returns what it did, in one sentence."""
        if self.steps is None:
            did = "trained no step"
        else:
            first, last = self.steps
            begun = "from the beginning" if first == 1 else f"going on from step {first - 1}"
            did = f"trained steps {first} to {last}, {begun}"
        where = f" on {self.host}" if self.host else ""
        job = f" in Slurm job {self.job}" if self.job else ""
        return f"Attempt {self.number} {did}{where}{job}: {self.outcome}."


def read_attempts(training: Training, *, alive: bool) -> list[Attempt]:
    """Returns the attempts, the first one first; none where the telemetry is gone.

    Args:
        training: what is on disk.
        alive: a process trains it now.
    """
    by_number: dict[int, list[dict[str, Any]]] = {}
    nodes: dict[int, dict[str, Any]] = {}
    for record in training.telemetry:
        number = int(record.get("attempt", 1))
        if record.get("kind") not in OF_A_JOB:
            by_number.setdefault(number, []).append(record)
        elif record.get("kind") == "preflight":
            nodes[number] = record
    last = max(by_number, default=0)
    return [
        _attempt(
            number,
            by_number[number],
            nodes.get(number, {}),
            alive=alive and number == last,
            ended=training.end is not None and number == last,
        )
        for number in sorted(by_number)
    ]


def _attempt(
    number: int,
    records: Sequence[dict[str, Any]],
    node: dict[str, Any],
    *,
    alive: bool,
    ended: bool,
) -> Attempt:
    start = next((record for record in records if record.get("kind") == "start"), {})
    steps = [
        record["step"]
        for record in records
        if record.get("kind") == "step" and isinstance(record.get("step"), int)
    ]
    status, outcome = _outcome(records, alive=alive, ended=ended)
    times = [milliseconds(record) for record in records]
    job = start.get("job") or node.get("job")
    return Attempt(
        number=number,
        status=status,
        outcome=outcome,
        began_ms=times[0],
        ended_ms=max(times),  # not the last: a clock may be set back
        steps=(steps[0], steps[-1]) if steps else None,
        host=start.get("host") or node.get("host"),
        job=None if job is None else str(job),
        device=start.get("device"),
    )


def _outcome(
    records: Sequence[dict[str, Any]], *, alive: bool, ended: bool
) -> tuple[RunStatus, str]:
    if alive:
        return "RUNNING", "it trains"
    ends = [record for record in records if record.get("kind") == "end"]
    if not ends:
        # Killed after the last event: the training is complete all the same.
        return ("FINISHED", "finished") if ended else ("KILLED", "killed")
    said = str(ends[-1].get("status"))
    words = {
        "finished": "finished",
        "preempted": "stopped on request, and saved",
        "failed": f"failed ({ends[-1].get('message') or ends[-1].get('error', 'unknown error')})",
    }
    return _OUTCOMES.get(said, "KILLED"), words.get(said, said)
