import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minilingua.core.events import Event, StepEvent
from minilingua.provenance.training_record import read_run
from minilingua.tracking.ingest import Ingester, flatten
from minilingua.tracking.store import locked_store
from minilingua.tracking.track import main
from tests.tracking.workspace import (
    RUN_KEY,
    STEPS,
    Workspace,
    telemetry_of,
    telemetry_record,
    training_events,
)


def ingest(workspace: Workspace, *, alive: bool, ingester: Ingester | None = None) -> None:
    with locked_store() as store:
        training = read_run(workspace.run_directory())
        (ingester or Ingester()).ingest(store, training, alive=alive)


def test_a_training_is_one_run_with_all_its_figures(workspace: Workspace) -> None:
    workspace.train()
    ingest(workspace, alive=False)

    dump = workspace.dump()
    assert [row[:2] for row in dump["runs"]] == [(f"sample-{RUN_KEY[:8]}", "FINISHED")]
    steps = {event.step: event for event in training_events() if isinstance(event, StepEvent)}
    assert workspace.metric("train/loss") == {s: event.loss for s, event in steps.items()}
    assert workspace.metric("train/learning_rate")[2] == steps[2].learning_rate
    assert workspace.metric("train/tokens_seen")[3] == 1001 + 1002 + 1003
    assert workspace.metric("train/supervised_tokens")[3] == 303
    assert workspace.metric("throughput/tokens_per_second")[5] == 1000.0
    assert list(workspace.metric("validation_loss/all")) == [0, 4, 8, 12]
    assert workspace.metric("validation_loss/fi")[4] == pytest.approx(1.7)
    assert workspace.metric("early_stopping/best_loss")[12] == pytest.approx(1.2)
    assert workspace.metric("early_stopping/stop") == {0: 0, 4: 0, 8: 0, 12: 1}
    params = dict(dump["params"])
    assert params["train.lr"] == "0.002"
    assert params["train.early_stopping.patience"] == "3"
    tags = workspace.tags()
    assert tags["minilingua.run_key"] == RUN_KEY
    assert tags["minilingua.stop_reason"] == "early_stop"
    assert tags["minilingua.best_step"] == "8"
    assert "Early stopping: Loss 1.30 after step 12" in tags["mlflow.note.content"]


def test_doing_it_again_adds_nothing(workspace: Workspace) -> None:
    workspace.whole_line()
    assert main(["--quiet"]) == 0
    first, files = workspace.dump(), workspace.artifact_times()
    assert main(["--quiet"]) == 0
    assert (workspace.dump(), workspace.artifact_times()) == (first, files)


@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],  # it only makes directories
)
@given(
    looks=st.sets(st.integers(0, len(training_events()) - 1), min_size=1, max_size=4),
    one=st.booleans(),
)
def test_watching_it_live_ends_in_the_same_store(
    new_workspace: Callable[[], Workspace], looks: set[int], one: bool
) -> None:
    """Whenever the ingester looks, and whether it is one process or several."""
    at_once = new_workspace()
    at_once.train()
    ingest(at_once, alive=False)

    live = new_workspace()
    live.begin()
    ingester = Ingester() if one else None
    for number, (event, telemetry) in enumerate(telemetry_of(training_events())):
        live.add(event, "")
        if number in looks:  # between an event and its telemetry
            ingest(live, alive=True, ingester=ingester)
        live.add_telemetry(telemetry)
        if number in looks:
            ingest(live, alive=True, ingester=ingester)
            assert live.dump()["runs"][0][1] == "RUNNING"
    ingest(live, alive=False, ingester=ingester)
    assert live.dump() == at_once.dump()


def interrupted(workspace: Workspace, replayed: Sequence[Event]) -> None:
    """Trains to step 10, is killed, goes on from step 8."""
    workspace.begin()
    first = [event for event in training_events() if event.step <= 10]
    for event, telemetry in telemetry_of(first):
        workspace.add(event, telemetry)
    ingest(workspace, alive=True)
    assert workspace.dump()["runs"][0][1] == "RUNNING"
    ingest(workspace, alive=False)
    assert workspace.dump()["runs"][0][1] == "KILLED"
    assert max(workspace.metric("train/loss")) == 10

    workspace.add_telemetry(telemetry_record("start", 2, 1000.0))
    for event, telemetry in telemetry_of(replayed, attempt=2, begins=1000.0):
        workspace.add(event, telemetry)
        ingest(workspace, alive=True)
        assert workspace.dump()["runs"][0][1] == "RUNNING"
    ingest(workspace, alive=False)


def test_replayed_steps_of_a_resumed_run_are_there_once(workspace: Workspace) -> None:
    interrupted(workspace, [event for event in training_events() if event.step > 8])
    (run,) = workspace.dump()["runs"]
    assert run[1] == "FINISHED"
    assert list(workspace.metric("train/loss")) == list(range(1, STEPS + 1))
    # A step keeps the figures of when it was first trained.
    assert workspace.metric("throughput/tokens_per_second")[10] == 1000.0
    assert workspace.metric("throughput/tokens_per_second")[11] == 500.0
    assert workspace.tags()["minilingua.attempts"] == "2"


def test_steps_that_came_out_otherwise_replace_the_earlier_ones(workspace: Workspace) -> None:
    replayed = [
        replace(event, loss=event.loss + 0.01) if isinstance(event, StepEvent) else event
        for event in training_events()
        if event.step > 8
    ]
    interrupted(workspace, replayed)
    assert len(workspace.dump()["runs"]) == 1
    losses = workspace.metric("train/loss")
    assert losses[8] == pytest.approx(3.0 / 8 + 0.1)
    assert losses[9] == pytest.approx(3.0 / 9 + 0.11)
    assert len(losses) == STEPS


@pytest.mark.parametrize(
    ("ended", "stop", "status"),
    [
        ("finished", True, "FINISHED"),
        ("preempted", False, "KILLED"),
        ("failed", False, "FAILED"),
        (None, False, "KILLED"),
    ],
)
def test_the_status_is_what_became_of_it(
    workspace: Workspace, ended: str | None, stop: bool, status: str
) -> None:
    workspace.begin()
    for event in training_events(stop=stop):
        workspace.add(event, "")
    if ended:
        workspace.add_telemetry(telemetry_record("end", 1, 20.0, status=ended))
    ingest(workspace, alive=False)
    assert workspace.dump()["runs"][0][1] == status


def test_a_half_written_last_line_waits(workspace: Workspace) -> None:
    workspace.train()
    events = workspace.run_directory() / "events.jsonl"
    whole = events.read_bytes()
    events.write_bytes(whole[: len(whole) // 2])
    ingest(workspace, alive=True)
    seen = workspace.metric("train/loss")
    assert 0 < len(seen) < STEPS
    events.write_bytes(whole)
    ingest(workspace, alive=False)
    assert len(workspace.metric("train/loss")) == STEPS


def test_two_trainings_are_two_runs(workspace: Workspace) -> None:
    workspace.train(run_key="a" * 16)
    workspace.train(training_events(8, stop=False), run_key="b" * 16)
    assert main(["--quiet"]) == 0
    assert main(["--quiet"]) == 0
    runs = workspace.dump()["runs"]
    assert [(name, status) for name, status, *_ in runs] == [
        ("sample-aaaaaaaa", "FINISHED"),
        ("sample-bbbbbbbb", "KILLED"),
    ]


def test_without_its_run_directory_a_training_is_read_from_reports(workspace: Workspace) -> None:
    workspace.whole_line()
    shutil.rmtree("runs")
    assert main(["--quiet"]) == 0
    assert main(["--quiet"]) == 0
    assert [row[1] for row in workspace.dump()["runs"]] == ["FINISHED"]
    assert len(workspace.metric("train/loss")) == STEPS
    assert "training/training_loss.png" in workspace.artifacts()


def test_a_deleted_run_directory_changes_nothing(workspace: Workspace) -> None:
    workspace.whole_line()
    assert main(["--quiet"]) == 0
    before = workspace.dump()
    shutil.rmtree("runs")
    workspace.evaluate(accuracy=0.6)
    assert main(["--quiet"]) == 0
    after = workspace.dump()
    assert after["runs"] == before["runs"]
    assert workspace.tags()["minilingua.run_key"] == RUN_KEY
    (passport,) = workspace.root.glob("mlruns/*/*/artifacts/passport.json")
    assert json.loads(passport.read_text())["run_key"] == RUN_KEY
    assert len(workspace.metric("evaluation_result/mcqa_text_accuracy")) == 2


def test_nested_parameters_become_dotted_names() -> None:
    nested = {"a": {"b": 1, "c": None}, "d": ["x", "y"], "e": "word", "f": True}
    assert dict(flatten(nested)) == {
        "a.b": "1",
        "a.c": "null",
        "d": '["x", "y"]',
        "e": "word",
        "f": "true",
    }
