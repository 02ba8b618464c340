from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.events import SpikeEvent, StepEvent, read_events
from minilingua.megatron_model.megatron import quiet
from minilingua.params import SpikeParams
from minilingua.training.checkpoint import Progress, complete_checkpoints
from minilingua.training.loop import TrainingLoop
from minilingua.training.run_directory import RunDirectory, open_run
from minilingua.training.spikes import find_spike, needed_losses
from minilingua.training.stop_request import StopRequest
from tests.training.engines import engine_of, opened
from tests.training.workspace import Workspace, make_workspace

RULE = SpikeParams(threshold=1.0, window=10, patience=3)
CALM = [3.0, 2.9, 2.8, 2.7, 2.6, 2.5]


def in_a_row(losses: list[float], rule: SpikeParams = RULE) -> int:
    spike = find_spike(losses, rule, len(losses))
    return 0 if spike is None else spike.in_a_row


def test_a_jump_is_a_spike_and_a_row_of_them_is_counted_up_to_patience() -> None:
    assert in_a_row(CALM) == 0
    assert in_a_row([*CALM, 3.75]) == 0  # at the threshold above the median 2.75
    assert in_a_row([*CALM, 3.76]) == 1
    assert [in_a_row([*CALM, *[4.0] * count]) for count in (1, 2, 3, 4)] == [1, 2, 3, 3]
    assert in_a_row([*CALM, 4.0, 2.5, 4.0]) == 1
    assert in_a_row([*[9.0] * 12, *[2.0] * 10, 4.0]) == 1  # what lies before the window is over
    spike = find_spike([*CALM, 4.0], RULE, 7)
    assert spike == SpikeEvent(step=7, loss=4.0, median=2.75, in_a_row=1)


def test_first_steps_and_no_threshold_have_none() -> None:
    assert in_a_row([1.0, 9.0, 9.0, 9.0]) == 0
    assert in_a_row([*CALM, 99.0], RULE.model_copy(update={"threshold": None})) == 0


@given(st.lists(st.floats(0, 9), min_size=1, max_size=40), st.integers(1, 12), st.integers(1, 5))
def test_only_the_last_losses_matter(losses: list[float], window: int, patience: int) -> None:
    rule = RULE.model_copy(update={"window": window, "patience": patience})
    assert in_a_row(losses, rule) == in_a_row(losses[-needed_losses(rule) :], rule)


@pytest.mark.parametrize("window", [1, 4, 10])
def test_a_loop_counts_a_row_of_spikes_whatever_the_window(
    workspace: Workspace, window: int
) -> None:
    rule = RULE.model_copy(update={"window": window})
    loop = loop_of(workspace, open_run("k" * 16), spikes=rule)
    spikes = [
        loop._notice_spike(step_event(step, loss))
        for step, loss in enumerate([*CALM, 4.0, 6.0, 8.0], start=1)
    ]
    assert [spike and spike.in_a_row for spike in spikes] == [None] * len(CALM) + [1, 2, 3]
    assert loop._spikes_end_it


def test_a_training_that_stays_up_ends_and_keeps_its_last_good_state(tmp_path: Path) -> None:
    """The rate is good for a while and then, by a warm-up that never ends, far too high."""
    workspace = make_workspace(
        tmp_path / "root",
        steps=60,
        train={
            "lr": 60.0,
            "warmup_steps": 59,
            "clip_grad": 1e9,
            "save_interval": 3,
            "spikes": {"threshold": 1.0, "window": 10, "patience": 3},
        },
    )
    process = workspace.start()
    assert process.wait() == 2
    last = process.errors().splitlines()[-1]
    events = list(read_events(next(workspace.root.glob("runs/*/events.jsonl"))))
    spikes = [event for event in events if isinstance(event, SpikeEvent)]
    assert [spike.in_a_row for spike in spikes][-3:] == [1, 2, 3], last
    assert "3 steps in a row; the state of step" in last
    assert "Traceback" not in process.errors()
    stopped = max(event.step for event in events if isinstance(event, StepEvent))
    assert spikes[-1].step == stopped
    first = spikes[-3].step
    states = [int(path.name[5:]) for path in workspace.root.glob("runs/*/checkpoints/step_*")]
    assert states
    assert max(states) < first


def step_event(step: int, loss: float) -> StepEvent:
    return StepEvent(
        step=step,
        loss=loss,
        learning_rate=1e-3,
        grad_norm=1.0,
        tokens=1,
        supervised_tokens=1,
        conversations=1,
        sample_digest="0" * 16,
        packs_without_targets=0,
    )


def loop_of(workspace: Workspace, run: RunDirectory, **train: Any) -> TrainingLoop:
    return TrainingLoop(
        engine=engine_of(workspace, keep_checkpoints=1, **train),
        validation=opened(workspace.params, "validation"),
        run=run,
        stop=StopRequest(),
        is_writer=True,
    )


def test_a_state_that_is_saved_in_a_spike_on_request_leaves_the_good_one(
    workspace: Workspace,
) -> None:
    run = open_run("k" * 16)
    loop = loop_of(workspace, run)
    saved = []
    for step, in_spike in ((2, False), (4, True), (6, False)):
        loop.progress = Progress(step=step, history=())
        loop._in_spike = in_spike
        with quiet():
            loop._save()
            loop._note(loop._saver.wait())
        saved.append(complete_checkpoints(run.checkpoints))
    assert saved == [[2], [2, 4], [6]]


def test_a_restart_knows_that_it_is_in_a_spike(workspace: Workspace) -> None:
    run = open_run("k" * 16)
    with quiet():
        loop = loop_of(workspace, run)
        loop.progress = Progress(step=7, history=())
        loop._save()
        loop._note(loop._saver.wait())
        for step, loss in enumerate([*CALM, 9.0], start=1):
            run.add(step_event(step, loss))
        resumed = loop_of(workspace, run)
        resumed._restore()
    assert resumed.progress.step == 7
    assert resumed._in_spike
    assert not resumed._save_is_due()


def test_a_restart_does_not_count_losses_of_steps_that_it_trains_again(
    workspace: Workspace,
) -> None:
    run = open_run("k" * 16)
    with quiet():
        loop = loop_of(workspace, run)
        loop.progress = Progress(step=6, history=())
        loop._save()
        loop._note(loop._saver.wait())
        for step, loss in enumerate([*CALM, 9.0], start=1):  # killed after a step beyond the state
            run.add(step_event(step, loss))
        resumed = loop_of(workspace, run)
        resumed._restore()
    assert resumed._losses == CALM
    assert not resumed._in_spike
