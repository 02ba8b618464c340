from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.events import StepEvent
from minilingua.provenance.contents import Contents
from minilingua.provenance.differences import Difference, compare, differing_outputs
from minilingua.provenance.state import StageRecord, State, in_order
from tests.tracking.workspace import training_events

NOWHERE = Contents(caches=())
STATE = State(
    name="a",
    commit="1" * 40,
    params={"seed": 1, "train": {"lr": 0.002}},
    stages={
        "fetch": StageRecord(deps={"src/fetch.py": "a"}, outs={"data/raw": "1.dir"}),
        "pack": StageRecord(
            deps={"src/pack.py": "a", "data/raw": "1.dir"}, outs={"data/plan": "2.dir"}
        ),
    },
    environment={"python": "3.11.7", "packages": {"torch": "2.13.0"}},
    events=tuple(training_events()),
    evaluation={"loss": 4.5},
)


def told(other: State) -> list[str]:
    return [f"{one.kind}: {one.what}" for one in compare(STATE, other, NOWHERE)]


def with_stages(**changes: StageRecord) -> State:
    return replace(STATE, stages=STATE.stages | changes)


def test_a_state_does_not_differ_from_itself() -> None:
    assert compare(STATE, STATE, NOWHERE) == []


def test_causes_come_before_effects() -> None:
    fetch = StageRecord(deps={"src/fetch.py": "b"}, outs={"data/raw": "9.dir"})
    pack = StageRecord(deps={"src/pack.py": "a", "data/raw": "9.dir"}, outs={"data/plan": "8.dir"})
    other = replace(
        with_stages(fetch=fetch, pack=pack),
        params={"seed": 1, "train": {"lr": 0.001}},
        environment={"python": "3.11.7", "packages": {"torch": "2.12.0"}},
        evaluation={"loss": 4.6},
    )
    assert told(other) == [
        "code: fetch",
        "parameters: train.lr",
        "environment: packages.torch",
        "data: data/raw",
        "data: data/plan",
        "results: loss",
    ]
    assert list(differing_outputs(STATE, other)) == [("fetch", "data/raw"), ("pack", "data/plan")]


def test_image_driver_and_device_of_a_training_are_compared() -> None:
    one, other = (
        {"training": {"image_digest": image, "driver": driver, "device": "NVIDIA H200"}}
        for image, driver in (("sha256:1", "570.86.15"), ("sha256:2", "575.51.03"))
    )
    # What one side does not tell, such as the packages of a run, is no difference.
    a = replace(STATE, environment={**STATE.environment, **one})
    found = compare(a, replace(STATE, environment=other), NOWHERE)
    assert [str(difference) for difference in found] == [
        "environment: training.driver: 570.86.15 and 575.51.03",
        "environment: training.image_digest: sha256:1 and sha256:2",
    ]


def test_another_output_of_the_same_inputs_is_remarked() -> None:
    pack = replace(STATE.stages["pack"], outs={"data/plan": "8.dir"})
    (found,) = compare(STATE, with_stages(pack=pack), NOWHERE)
    assert found.what == "data/plan"
    assert "its stage read the same" in found.detail


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"loss": 9.0}, "loss "),
        ({"sample_digest": "f" * 16}, "other conversations"),
        ({"grad_norm": 9.0}, "gradient norm "),
        ({"learning_rate": 9.0}, "learning rate "),
    ],
)
def test_the_first_diverging_step_is_named(change: dict[str, object], detail: str) -> None:
    events = tuple(
        replace(event, **change)  # type: ignore[arg-type]  # keys of the class
        if isinstance(event, StepEvent) and event.step >= 5
        else event
        for event in STATE.events
    )
    (found,) = compare(STATE, replace(STATE, events=events), NOWHERE)
    assert found == Difference(kind="training", what="first diverging step 5", detail=found.detail)
    assert found.detail.startswith(detail)


def test_what_one_side_does_not_tell_is_no_difference() -> None:
    bare = State(name="b", commit=STATE.commit, stages=STATE.stages)
    assert compare(STATE, bare, NOWHERE) == []
    (found,) = compare(STATE, replace(bare, commit="2" * 40), NOWHERE)
    assert "no stage reads what changed" in found.detail


def test_files_missing_on_disk_are_no_error(tmp_path: Path) -> None:
    other = with_stages(fetch=replace(STATE.stages["fetch"], outs={"data/raw": "9.dir"}))
    (found, *_) = compare(STATE, other, Contents.of([tmp_path]))
    assert "not in the cache" in found.detail


@given(st.permutations(["a", "b", "c", "d"]))
def test_stages_come_after_what_they_read(names: list[str]) -> None:
    stages = {
        name: StageRecord(
            deps={f"out-{names[place - 1]}": "x"} if place else {}, outs={f"out-{name}": "x"}
        )
        for place, name in enumerate(names)
    }
    assert list(in_order(stages)) == names
