from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from minilingua.core.errors import DataError, ParamsError
from minilingua.core.events import (
    DecisionEvent,
    EndEvent,
    EvaluationEvent,
    Event,
    LanguageLoss,
    append_event,
)
from minilingua.params import EarlyStoppingParams
from minilingua.tracking.stopping_replay import main
from minilingua.training.early_stopping import replay

RULE = EarlyStoppingParams(
    enabled=True,
    patience=2,
    min_delta=0.0,
    warmup_steps=0,
    standard_errors=0.0,
    language_bound=0.05,
    language_stop=False,
)
LOSSES = (4.0, 3.0, 2.98, 3.1, 3.2)


def record(path: Path, losses: Sequence[float] = LOSSES, rule: EarlyStoppingParams = RULE) -> Path:
    """A training's events up to the stop; Finnish gets worse after step 10."""
    evaluations: list[Event] = [
        EvaluationEvent(
            step=10 * index,
            loss=loss,
            supervised_tokens=9,
            standard_error=0.03,
            languages={"fi": LanguageLoss(loss=2.0 + 0.1 * (index > 1), supervised_tokens=9)},
        )
        for index, loss in enumerate(losses)
    ]
    decisions = replay(evaluations, rule)
    for evaluation, decision in zip(evaluations, decisions, strict=False):
        append_event(path, evaluation)
        append_event(path, decision)
    last = decisions[-1]
    reason = "early_stop" if last.verdict == "stop" else "plan_complete"
    append_event(
        path,
        EndEvent(
            step=last.step,
            reason=reason,  # type: ignore[arg-type]  # one of the two
            best_step=last.best_step,
            best_loss=last.best_loss,
        ),
    )
    return path


def run(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    assert main(["--events", str(path), *options]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_the_record_is_computed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(record(tmp_path / "events"), capsys)
    assert "All 5 decisions follow from the evaluations." in shown
    assert "stops at step 40, selects step 20 (loss 2.9800)." in shown
    assert "fi +0.100" in shown


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        (["--patience", "1"], "stops at step 30, selects step 20 (loss 2.9800)"),
        (["--patience", "9"], "goes on after step 40, where the record ends; until there it"),
        (["--standard-errors", "1"], "stops at step 30, selects step 10 (loss 3.0000)"),
        (["--min-delta", "0.5"], "stops at step 30, selects step 10 (loss 3.0000)"),
        (["--min-delta", "0.5", "--warmup-steps", "20"], "stops at step 40, selects step 10"),
        (["--language-stop", "--patience", "2"], "stops at step 30, selects step 20"),
        (["--language-stop", "--language-bound", "0.2"], "stops at step 40, selects step 20"),
    ],
)
def test_another_rule_is_played_through(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], outcome: str
) -> None:
    shown = run(record(tmp_path / "events"), capsys, *options)
    assert "Recorded: stops at step 40" in shown
    assert f"This rule: {outcome}" in shown


def test_a_completed_plan_is_an_end_that_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = record(tmp_path / "events", rule=RULE.model_copy(update={"enabled": False}))
    assert "never stops" in run(path, capsys)
    shown = run(path, capsys, "--patience", "9")
    assert "This rule: trains to the end of the plan at step 40" in shown
    assert "This rule: stops at step 40" in run(path, capsys, "--patience", "2")


def test_a_record_that_does_not_follow_is_told(tmp_path: Path) -> None:
    path = record(tmp_path / "events")
    (decision,) = [
        event for event in replay_of(path) if isinstance(event, DecisionEvent) and event.step == 10
    ]
    append_event(path, replace(decision, verdict="waiting"))
    with pytest.raises(DataError, match=r"decision at step 10 \(waiting\) does not follow"):
        main(["--events", str(path)])


def replay_of(path: Path) -> list[Event]:
    from minilingua.core.events import read_events

    return list(read_events(path))


def test_bad_options_and_empty_records_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"--patience: .* greater than or equal to 1, found 0"):
        main(["--events", str(record(tmp_path / "events")), "--patience", "0"])
    (tmp_path / "empty").write_text("")
    with pytest.raises(DataError, match="holds no decision"):
        main(["--events", str(tmp_path / "empty")])
