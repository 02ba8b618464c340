from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.events import SpikeEvent, StepEvent, read_events
from minilingua.params import SpikeParams
from minilingua.training.spikes import find_spike
from tests.training.workspace import make_workspace

RULE = SpikeParams(threshold=1.0, window=10, patience=3)
CALM = [3.0, 2.9, 2.8, 2.7, 2.6, 2.5]


def in_a_row(losses: list[float], rule: SpikeParams = RULE) -> int:
    spike = find_spike(losses, rule, len(losses))
    return 0 if spike is None else spike.in_a_row


def test_a_jump_is_a_spike_and_a_row_of_them_is_counted_up_to_patience() -> None:
    assert in_a_row(CALM) == 0
    assert in_a_row([*CALM, 3.7]) == 0  # within the threshold of the median 2.75
    assert in_a_row([*CALM, 3.8]) == 1
    assert [in_a_row([*CALM, *[4.0] * count]) for count in (1, 2, 3, 4)] == [1, 2, 3, 3]
    assert in_a_row([*CALM, 4.0, 2.5, 4.0]) == 1
    spike = find_spike([*CALM, 4.0], RULE, 7)
    assert spike == SpikeEvent(step=7, loss=4.0, median=2.75, in_a_row=1)


def test_first_steps_and_no_threshold_have_none() -> None:
    assert in_a_row([1.0, 9.0, 9.0, 9.0]) == 0
    assert in_a_row([*CALM, 99.0], RULE.model_copy(update={"threshold": None})) == 0


@given(st.lists(st.floats(0, 9), min_size=1, max_size=60))
def test_only_the_last_losses_matter(losses: list[float]) -> None:
    kept = losses[-(RULE.window + RULE.patience) :]
    if len(kept) < len(losses):  # a restart keeps these only
        assert in_a_row(losses) == in_a_row(kept)


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
