"""Events survive a killed writer, and replayed steps count once."""

from pathlib import Path

import pytest

from minilingua.core.errors import DataError
from minilingua.core.events import (
    DecisionEvent,
    EndEvent,
    EvaluationEvent,
    Event,
    LanguageLoss,
    SpikeEvent,
    StepEvent,
    TelemetryWriter,
    append_event,
    compact,
    read_events,
    read_telemetry,
)


def _step(step: int, loss: float = 1.5) -> StepEvent:
    return StepEvent(
        step=step,
        loss=loss,
        learning_rate=1e-5,
        grad_norm=0.1,
        tokens=10,
        supervised_tokens=4,
        conversations=2,
        sample_digest="0" * 16,
    )


def _evaluation(step: int) -> EvaluationEvent:
    return EvaluationEvent(
        step=step,
        loss=2.0,
        supervised_tokens=9,
        languages={"fi": LanguageLoss(loss=2.0, supervised_tokens=9)},
    )


def test_all_kinds_come_back(tmp_path: Path) -> None:
    events: list[Event] = [
        _step(1),
        _evaluation(1),
        DecisionEvent(
            step=1,
            loss=2.0,
            best_step=1,
            best_loss=2.0,
            evaluations_without_improvement=0,
            patience=2,
            min_delta=0.0,
            verdict="improved",
            reason="first evaluation",
        ),
        EndEvent(step=1, reason="plan_complete", best_step=1, best_loss=2.0),
    ]
    for event in events:
        append_event(tmp_path / "events.jsonl", event)
    assert list(read_events(tmp_path / "events.jsonl")) == events


def test_a_half_written_last_line_is_left_out_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append_event(path, _step(1))
    with path.open("ab") as stream:
        stream.write(b'{"kind":"step","st')
    assert list(read_events(path)) == [_step(1)]
    append_event(path, _step(2))
    assert list(read_events(path)) == [_step(1), _step(2)]


def test_damage_in_the_middle_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind":"step"}\n')
    with pytest.raises(DataError, match=r"events\.jsonl:1: not an event"):
        list(read_events(path))


def test_compaction_keeps_the_last_of_each_step_in_order() -> None:
    replayed: list[Event] = [
        _step(1),
        _step(2, 9.0),
        _step(3, 9.0),
        _step(2, 1.0),
        _evaluation(2),
        _step(3, 0.9),
    ]
    assert compact(replayed) == [_step(1), _step(2, 1.0), _evaluation(2), _step(3, 0.9)]
    assert compact(replayed, last_step=2) == [_step(1), _step(2, 1.0), _evaluation(2)]


def test_a_replayed_step_takes_back_what_was_recorded_after_it() -> None:
    """The second attempt has no spike and ends earlier, as one on other ranks may."""
    spike = SpikeEvent(step=2, loss=9.0, median=2.0, in_a_row=1)
    first = EndEvent(step=4, reason="plan_complete", best_step=4, best_loss=1.0)
    second = EndEvent(step=3, reason="early_stop", best_step=1, best_loss=2.0)
    attempt: list[Event] = [_step(1), _evaluation(1), _step(2, 9.0), spike, _step(3), _step(4)]
    replay: list[Event] = [_step(2, 1.0), _step(3, 1.0), second]
    assert compact([*attempt, first]) == [*attempt, first]
    assert compact([*attempt, first, *replay]) == [*attempt[:2], *replay]
    assert compact([*attempt, _step(3, 1.0)]) == [*attempt[:4], _step(3, 1.0)]


def test_telemetry_carries_attempt_and_time(tmp_path: Path) -> None:
    writer = TelemetryWriter(path=tmp_path / "telemetry.jsonl", attempt=2)
    writer.write("step", step=3, seconds=0.5)
    (record,) = read_telemetry(tmp_path / "telemetry.jsonl")
    assert record["attempt"] == 2
    assert record["kind"] == "step"
    assert record["time"] > 1.7e9
    assert list(read_telemetry(tmp_path / "absent.jsonl")) == []
