import re

import pytest

from minilingua.launch.slurm_client import LIVE, JobState
from minilingua.launch.submission import Completion
from minilingua.launch.verdict import judge

GOOD = Completion(job=7, attempt=1, exit_code=0)


def _bad(code: int) -> Completion:
    return Completion(job=7, attempt=1, exit_code=code)


def test_good_is_what_accounting_and_the_job_agree_on() -> None:
    assert judge(7, JobState(state="COMPLETED", exit_code="0:0"), GOOD).is_good


@pytest.mark.parametrize(
    ("state", "completion", "cause"),
    [
        (JobState(state="COMPLETED", node="n1"), None, "ended on n1 without its completion record"),
        (JobState(state="COMPLETED"), Completion(job=6, attempt=1, exit_code=0), "without its com"),
        (JobState(state="COMPLETED"), _bad(2), "ended with exit code 2"),
        (JobState(state="FAILED", node="n1", exit_code="2:0"), _bad(2), "exit code 2 on n1"),
        (
            JobState(state="FAILED", exit_code="0:9"),
            None,
            r"before it could say why \(FAILED, .*0:9",
        ),
        (JobState(state="FAILED"), GOOD, "before it could say why"),
        (JobState(state="FAILED"), _bad(75), "stopped before its end; what it saved is kept"),
        (JobState(state="CANCELLED", reason="by 1000"), None, "was cancelled by 1000"),
        (JobState(state="TIMEOUT"), None, "ran into its time limit"),
        (JobState(state="NODE_FAIL", node="n1"), None, "lost its node on n1"),
        (JobState(state="OUT_OF_MEMORY"), None, "used more memory"),
        (JobState(state="UNKNOWN"), GOOD, "neither to the controller nor to accounting"),
    ],
)
def test_everything_else_is_a_failure_with_its_cause(
    state: JobState, completion: Completion | None, cause: str
) -> None:
    verdict = judge(7, state, completion)
    assert not verdict.is_good
    assert re.search(cause, verdict.cause), verdict.cause


def test_no_live_state_is_judged_good() -> None:
    assert not any(judge(7, JobState(state=state), GOOD).is_good for state in LIVE)
