"""What `minilingua reproduce` names first."""

from dataclasses import replace

from minilingua.provenance.contents import Contents
from minilingua.provenance.reproduce import _causes
from minilingua.provenance.state import State
from tests.provenance.test_differences import STATE
from tests.provenance.test_first_steps import stage

NOWHERE = Contents(caches=())
EXPECTED = replace(STATE, stages={"fetch": stage("", "raw"), "train": stage("raw", "weights")})
ELSEWHERE = {**STATE.environment, "python": "3.12.1"}


def kinds(found: State) -> list[str]:
    return [cause.partition(":")[0] for cause in _causes(EXPECTED, found, NOWHERE)]


def test_other_raw_data_comes_before_another_machine() -> None:
    fetch = replace(EXPECTED.stages["fetch"], outs={"raw": "other"})
    found = replace(EXPECTED, environment=ELSEWHERE, stages={**EXPECTED.stages, "fetch": fetch})
    assert kinds(found) == ["data", "environment"]


def test_another_machine_comes_before_other_weights() -> None:
    train = replace(EXPECTED.stages["train"], outs={"weights": "other"})
    found = replace(EXPECTED, environment=ELSEWHERE, stages={**EXPECTED.stages, "train": train})
    assert kinds(found) == ["environment", "data"]
