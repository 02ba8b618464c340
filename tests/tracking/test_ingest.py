import json
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minilingua.core.events import Event, StepEvent
from minilingua.core.files import write_text
from minilingua.provenance.lineage import dvc_md5
from minilingua.provenance.training_record import read_run
from minilingua.tracking import metric_log
from minilingua.tracking.ingest import Ingester, flatten
from minilingua.tracking.metrics import training_points
from minilingua.tracking.store import locked_store
from minilingua.tracking.track import main
from tests.tracking.workspace import (
    BEGAN,
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
    assert params["train.lr"] == "0.001"
    assert params["train.early_stopping.patience"] == "2"
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


def test_a_backlog_in_one_transaction_leaves_the_same_store(
    new_workspace: Callable[[], Workspace], monkeypatch: pytest.MonkeyPatch
) -> None:
    by_client = new_workspace()
    by_client.train()
    ingest(by_client, alive=False)
    expected = by_client.dump()

    at_once = new_workspace()
    at_once.train(training_events(6, stop=False))
    ingest(at_once, alive=True)
    shutil.rmtree(at_once.run_directory())
    at_once.train()
    monkeypatch.setattr(metric_log, "BACKLOG", 1)
    ingester = Ingester()
    ingest(at_once, alive=False, ingester=ingester)
    assert at_once.dump() == expected
    (log,) = ingester.logs.values()  # what it remembers is what the store holds
    assert log.missing(training_points(read_run(at_once.run_directory()), alive=False)) == []


def attempt_tags(workspace: Workspace, number: int) -> dict[str, str]:
    rows = workspace.dump()["attempt_tags"]
    return {
        key.removeprefix("minilingua.attempt."): value
        for name, key, value in rows
        if name == f"attempt {number}"
    }


def test_attempts_are_nested_with_what_became_of_them(workspace: Workspace) -> None:
    interrupted(workspace, [event for event in training_events() if event.step > 8])
    (run,) = workspace.dump()["runs"]
    began = round(BEGAN * 1000)
    assert workspace.dump()["attempts"] == [
        ("attempt 1", "KILLED", began, began + 10_000),
        ("attempt 2", "FINISHED", began + 1_000_000, began + 1_012_000),
    ]
    assert run[2:4] == (began, began + 1_012_000)
    first, second = attempt_tags(workspace, 1), attempt_tags(workspace, 2)
    assert (first["first_step"], first["last_step"], first["host"]) == ("1", "10", "node7")
    assert (second["first_step"], second["last_step"]) == ("9", "12")
    assert first["outcome"] == "killed"
    assert second["mlflow.note.content"] == (
        "Attempt 2 trained steps 9 to 12, going on from step 8: finished."
    )
    with locked_store() as store:  # as the UI asks for what it nests
        (parent,) = store.client.search_runs(
            [store.experiment_id], filter_string=f"tags.`minilingua.run_key` = '{RUN_KEY}'"
        )
        nested = store.client.search_runs(
            [store.experiment_id],
            filter_string=f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'",
        )
    assert sorted(child.info.run_name or "" for child in nested) == ["attempt 1", "attempt 2"]


def test_the_attempt_that_trains_is_running(workspace: Workspace) -> None:
    workspace.begin()
    ingest(workspace, alive=True)
    assert [row[1:] for row in workspace.dump()["attempts"]] == [
        ("RUNNING", round(BEGAN * 1000), None)
    ]
    assert "last_step" not in attempt_tags(workspace, 1)
    ingest(workspace, alive=False)
    assert workspace.dump()["attempts"][0][1] == "KILLED"


def test_an_attempt_names_its_slurm_job(workspace: Workspace) -> None:
    node = {"host": "gpu50", "job": "4711"}
    workspace.train()
    workspace.add_telemetry(telemetry_record("preflight", 1, -5.0, **node))
    workspace.add_telemetry(telemetry_record("preflight", 2, 90.0, host="gpu51", job="4711"))
    ingest(workspace, alive=False)
    assert len(workspace.dump()["attempts"]) == 1  # the second one never came to train
    assert attempt_tags(workspace, 1)["job"] == "4711"
    assert attempt_tags(workspace, 1)["host"] == "node7"


def test_system_metrics_are_named_as_mlflow_does(workspace: Workspace) -> None:
    interrupted(workspace, [event for event in training_events() if event.step > 8])
    samples = workspace.metric("system/cpu_utilization_percentage")
    assert list(samples) == [0, 1, 2, 3]  # after steps 0, 4, 8 and, by the second attempt, 12
    assert set(samples.values()) == {98.5}
    times = {
        step: at
        for key, step, _, at, _ in workspace.dump()["metrics"]
        if key == "system/system_memory_usage_megabytes"
    }
    assert times[3] == round(BEGAN * 1000) + 1_012_000


def test_a_clock_that_goes_backwards_loses_and_doubles_nothing(workspace: Workspace) -> None:
    workspace.begin()
    for event, telemetry in telemetry_of(training_events(), begins=0.0):
        back = -3600.0 if event.step > 5 else 0.0
        (told,) = telemetry_of([event], begins=back)
        workspace.add(event, told[1] if telemetry else "")
        if event.step in {5, 6}:
            ingest(workspace, alive=True)
    ingest(workspace, alive=False)
    live = workspace.dump()
    (run,) = live["runs"]
    assert run[3] >= run[2]  # it does not end before it began
    assert list(workspace.metric("train/loss")) == list(range(1, STEPS + 1))
    assert main(["--quiet"]) == 0
    assert workspace.dump() == live


def test_steps_that_came_out_otherwise_replace_the_earlier_ones(workspace: Workspace) -> None:
    replayed = [
        replace(event, loss=event.loss + 0.01) if isinstance(event, StepEvent) else event
        for event in training_events()
        if event.step > 8
    ]
    interrupted(workspace, replayed)
    assert len(workspace.dump()["runs"]) == 1
    assert len(workspace.dump()["attempts"]) == 2  # those of the run before are gone with it
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
    assert workspace.dump()["attempts"][0][1] == status


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


def test_a_run_directory_that_was_copied_is_one_run(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.train(training_events(8, stop=False))
    copy = workspace.root / "runs" / f"{RUN_KEY}-backup"
    shutil.copytree(workspace.run_directory(), copy)
    for event, telemetry in telemetry_of(training_events()):  # the original goes on
        if event.step > 8:
            workspace.add(event, telemetry)
    assert main([]) == 0
    assert f"left out: runs/{copy.name} is a copy of runs/{RUN_KEY}" in capsys.readouterr().out
    first = workspace.dump()
    assert [row[1] for row in first["runs"]] == ["FINISHED"]
    assert len(workspace.metric("train/loss")) == STEPS
    assert main(["--quiet"]) == 0
    assert workspace.dump() == first

    shutil.rmtree(workspace.run_directory())  # the copy is all that is left: nothing is lost
    assert main(["--quiet"]) == 0
    assert len(workspace.metric("train/loss")) == STEPS


def test_of_copies_without_their_original_the_one_that_got_furthest_counts(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.train(training_events(8, stop=False))
    runs = workspace.root / "runs"
    shutil.copytree(workspace.run_directory(), runs / f"{RUN_KEY}-monday")
    for event, telemetry in telemetry_of(training_events()):
        if event.step > 8:
            workspace.add(event, telemetry)
    shutil.copytree(workspace.run_directory(), runs / "backup")
    shutil.copytree(workspace.run_directory(), runs / f"{RUN_KEY}-tuesday")
    shutil.rmtree(workspace.run_directory())
    assert main([]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out")]
    assert told == [
        f"left out: runs/{name} is a copy of runs/backup"
        for name in (f"{RUN_KEY}-monday", f"{RUN_KEY}-tuesday")
    ]
    first = workspace.dump()
    assert [row[1] for row in first["runs"]] == ["FINISHED"]
    assert len(workspace.metric("train/loss")) == STEPS
    assert main(["--quiet"]) == 0
    assert workspace.dump() == first


def test_a_training_on_another_machine_runs_as_long_as_it_is_heard_of(
    workspace: Workspace,
) -> None:
    """The lock that a Slurm job holds on its node is not seen on the login node."""
    workspace.begin(begins=time.time() - BEGAN - 60, host="another-machine")
    assert main(["--quiet"]) == 0
    assert workspace.dump()["runs"][0][1] == "RUNNING"
    workspace.add_telemetry(telemetry_record("end", 1, time.time() - BEGAN, status="preempted"))
    assert main(["--quiet"]) == 0
    assert workspace.dump()["runs"][0][1] == "KILLED"


@pytest.mark.parametrize(("host", "ago"), [("another-machine", 3600), (platform.node(), 60)])
def test_a_training_that_is_not_heard_of_any_more_is_killed(
    workspace: Workspace, host: str, ago: float
) -> None:
    workspace.begin(begins=time.time() - BEGAN - ago, host=host)
    assert main(["--quiet"]) == 0
    assert workspace.dump()["runs"][0][1] == "KILLED"


def test_the_commit_is_the_one_that_the_training_began_from(workspace: Workspace) -> None:
    workspace.begin(commit="a" * 40)
    workspace.add_telemetry(telemetry_record("start", 2, 100.0, commit="b" * 40))
    ingest(workspace, alive=False)
    assert workspace.tags()["mlflow.source.git.commit"] == "a" * 40


def test_without_its_run_directory_a_training_is_read_from_reports(workspace: Workspace) -> None:
    workspace.whole_line()
    shutil.rmtree("runs")
    assert main(["--quiet"]) == 0
    assert main(["--quiet"]) == 0
    assert [row[1] for row in workspace.dump()["runs"]] == ["FINISHED"]
    assert len(workspace.metric("train/loss")) == STEPS
    assert "training/training_loss.png" in workspace.artifacts()


def test_damaged_events_are_no_training(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.whole_line()
    lock = {"train": {"outs": [{"path": "reports/train", "md5": dvc_md5(Path("reports/train"))}]}}
    write_text(Path("dvc.lock"), json.dumps({"stages": lock}))
    assert main([]) == 0
    before = workspace.dump()["runs"]
    events = Path("reports/train/events.jsonl")
    write_text(events, "".join(events.read_text().splitlines(keepends=True)[:-3]))
    capsys.readouterr()
    assert main([]) == 0
    assert (
        "left out: reports/train/events.jsonl is of no training in runs/ or dvc.lock; "
        "`dvc repro` renews it"
    ) in capsys.readouterr().out
    assert workspace.dump()["runs"] == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--run", "x"], "--run and --process belong to --follow"),
        (["--process", "1"], "--run and --process belong to --follow"),
        (["--after", "evaluat"], "invalid choice: 'evaluat'"),
    ],
)
def test_options_without_effect_are_refused(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert told in capsys.readouterr().err


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
