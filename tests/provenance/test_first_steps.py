from dataclasses import replace

import pytest

from minilingua.core.errors import DataError
from minilingua.core.events import StepEvent
from minilingua.provenance.contents import Contents
from minilingua.provenance.differences import compare
from minilingua.provenance.first_steps import grade_steps, stages_before_training, up_to
from minilingua.provenance.reproduce import _print
from minilingua.provenance.state import StageRecord, State
from tests.tracking.workspace import STEPS, training_events


def stage(deps: str, outs: str) -> StageRecord:
    return StageRecord(deps=dict.fromkeys(deps.split(), "1"), outs=dict.fromkeys(outs.split(), "1"))


STATE = State(
    name="model",
    stages={
        "fetch": stage("", "raw"),
        "mcqa": stage("raw", "mcqa"),
        "base": stage("", "base"),
        "pack": stage("raw", "plan"),
        "train": stage("plan base code", "weights"),
        "convert": stage("weights", "hf"),
    },
    events=tuple(training_events()),
    evaluation={"result": {"loss": 1.0}},
)


def test_what_the_training_reads_and_what_that_descends_from() -> None:
    assert stages_before_training(STATE) == ["base", "pack"]
    first = up_to(STATE, 3)
    assert list(first.stages) == ["fetch", "base", "pack"]
    assert [event.step for event in first.events if isinstance(event, StepEvent)] == [1, 2, 3]
    assert first.events[-1].step == 3
    assert first.evaluation == {}


@pytest.mark.parametrize("steps", [0, -1, STEPS + 1])
def test_steps_that_are_not_on_record_are_refused(steps: int) -> None:
    with pytest.raises(DataError, match=rf"--steps {steps}: model holds the events of 12 steps"):
        up_to(STATE, steps)


def test_without_a_stage_to_train_there_are_none() -> None:
    with pytest.raises(DataError, match="tells of no stage train"):
        up_to(replace(STATE, stages={}), 1)


def test_the_first_diverging_step_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    first = up_to(STATE, 5)
    found = replace(
        first,
        events=tuple(
            replace(event, loss=9.0) if isinstance(event, StepEvent) and event.step > 2 else event
            for event in first.events
        ),
    )
    causes = [str(one) for one in compare(first, found, Contents(caches=()))]
    _print(first, found, [], grade_steps([], first, found), causes)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "different: losses differ by up to 1.2e+01",
        "first difference: training: first diverging step 3: loss 1.1 and 9.0 (7.2e+00)",
    ]


@pytest.mark.parametrize(
    ("factor", "digest", "grade"),
    [
        (1.0, None, "bit-identical"),
        (1.0001, None, "within tolerance"),
        (1.1, None, "different"),
        (1.0, "f" * 16, "different"),
    ],
)
def test_grades_of_the_first_steps(factor: float, digest: str | None, grade: str) -> None:
    first = up_to(STATE, 5)
    found = tuple(
        replace(event, loss=event.loss * factor, sample_digest=digest or event.sample_digest)
        if isinstance(event, StepEvent)
        else event
        for event in first.events
    )
    assert grade_steps([], first, replace(first, events=found)).grade == grade
    assert grade_steps(["data/plan"], first, first).grade == "different"
