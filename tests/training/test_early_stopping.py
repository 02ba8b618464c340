from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.events import EvaluationEvent, Event, LanguageLoss
from minilingua.params import EarlyStoppingParams
from minilingua.training.early_stopping import Evaluated, decide, replay, rule_of

losses = st.lists(st.floats(0, 10, allow_nan=False), min_size=1, max_size=20)
rules = st.builds(
    EarlyStoppingParams,
    enabled=st.booleans(),
    patience=st.integers(1, 5),
    min_delta=st.sampled_from([0.0, 0.1, 1.0]),
    warmup_steps=st.just(0),
    standard_errors=st.just(0.0),
    language_bound=st.none(),
    language_stop=st.booleans(),
)
RULE = EarlyStoppingParams(
    enabled=True,
    patience=2,
    min_delta=0.0,
    warmup_steps=0,
    standard_errors=0.0,
    language_bound=None,
    language_stop=False,
)


def history(values: list[float]) -> list[Evaluated]:
    return [Evaluated(step=10 * index, loss=loss) for index, loss in enumerate(values)]


def evaluations(values: list[float]) -> list[Event]:
    return [
        EvaluationEvent(step=10 * index, loss=loss, supervised_tokens=1, languages={})
        for index, loss in enumerate(values)
    ]


@given(losses, rules)
def test_decision_follows_from_the_history_alone(
    values: list[float], rule: EarlyStoppingParams
) -> None:
    decision = decide(history(values), rule)
    assert decision == decide(history(values), rule)
    assert decision.step == 10 * (len(values) - 1)
    assert decision.loss == values[-1]
    assert decision.best_loss == values[decision.best_step // 10]
    assert decision.evaluations_without_improvement == (decision.step - decision.best_step) // 10
    # Nothing before the best was lower by more than the delta, and nothing after it.
    assert all(loss >= decision.best_loss - rule.min_delta for loss in values)
    waited = decision.evaluations_without_improvement
    if waited == 0:
        assert decision.verdict == "improved"
    elif not rule.enabled:
        assert decision.verdict == "disabled"
    else:
        assert decision.verdict == ("stop" if waited >= rule.patience else "waiting")


@given(losses)
def test_without_delta_the_first_lowest_loss_is_best(values: list[float]) -> None:
    rule = RULE.model_copy(update={"patience": 1})
    assert decide(history(values), rule).best_step == 10 * values.index(min(values))


@given(losses, rules)
def test_replay_gives_the_decisions_of_the_training(
    values: list[float], rule: EarlyStoppingParams
) -> None:
    decisions = replay(evaluations(values), rule)
    expected = [decide(history(values[:end]), rule) for end in range(1, len(values) + 1)]
    assert decisions == expected[: len(decisions)]
    assert all(decision.verdict != "stop" for decision in decisions[:-1])
    if len(decisions) < len(values):
        assert decisions[-1].verdict == "stop"


def test_reasons_are_sentences() -> None:
    reasons = [decision.reason for decision in replay(evaluations([2.0, 1.0, 1.5, 1.0, 3]), RULE)]
    assert reasons == [
        "The loss 2.0000 is the lowest so far.",
        "The loss 1.0000 is the lowest so far.",
        "1 evaluation without improving on 1.0000 of step 10 by more than 0; patience is 2.",
        "2 evaluations without improving on 1.0000 of step 10 by more than 0; patience is 2.",
    ]


def rule_with(**changes: Any) -> EarlyStoppingParams:
    return RULE.model_copy(update=changes)


def verdicts(events: Sequence[Event], **changes: Any) -> list[str]:
    return [decision.verdict for decision in replay(events, rule_with(**changes))]


def test_evaluations_of_the_warm_up_are_not_counted() -> None:
    events = evaluations([1.0, 2.0, 2.0, 2.0, 2.0])
    assert verdicts(events) == ["improved", "waiting", "stop"]
    assert verdicts(events, warmup_steps=20) == ["improved", "warmup", "warmup", "waiting", "stop"]
    # What is lowest in the warm-up is still the best.
    assert replay(events, rule_with(warmup_steps=20))[-1].best_step == 0


def test_a_decrease_within_its_standard_error_may_be_chance() -> None:
    events = [
        replace(event, standard_error=0.1)
        for event in evaluations([2.0, 1.95, 1.85])
        if isinstance(event, EvaluationEvent)
    ]
    assert verdicts(events) == ["improved", "improved", "improved"]
    assert verdicts(events, standard_errors=1.0) == ["improved", "waiting", "improved"]
    decision = replay(events, rule_with(standard_errors=1.0, min_delta=0.01))[-1]
    assert decision.margin == pytest.approx(0.11)


def languages(*rows: dict[str, float]) -> list[Event]:
    """Evaluations whose total keeps falling."""
    return [
        EvaluationEvent(
            step=10 * index,
            loss=9.0 - index,
            supervised_tokens=1,
            languages={
                code: LanguageLoss(loss=loss, supervised_tokens=1, standard_error=0.02)
                for code, loss in row.items()
            },
        )
        for index, row in enumerate(rows)
    ]


WORSE = languages({"fi": 2, "en": 3}, {"fi": 2.2, "en": 2}, {"fi": 2.3, "en": 2.05}, {"fi": 2.5})


def test_a_language_that_gets_worse_is_recorded_and_can_stop() -> None:
    decisions = replay(WORSE, rule_with(language_bound=0.1))
    assert [decision.verdict for decision in decisions] == ["improved"] * 4
    assert [sorted(decision.worse_languages) for decision in decisions] == [
        [],
        ["fi"],
        ["fi"],
        ["fi"],
    ]
    assert decisions[1].worse_languages["fi"] == pytest.approx(0.2)
    assert decisions[1].reason.endswith("Above their own lowest loss: fi by 0.2000.")
    stopping = replay(WORSE, rule_with(language_bound=0.1, language_stop=True))
    assert [decision.verdict for decision in stopping] == ["improved", "improved", "stop"]
    assert stopping[-1].best_step == 20  # the total was lowest there
    assert "patience is 2" in stopping[-1].reason


def test_only_languages_that_stay_worse_stop() -> None:
    rule = rule_with(language_bound=0.1, language_stop=True)
    events = languages(*({"fi": loss} for loss in (2.0, 2.2, 2.05, 2.2, 2.0, 1.9, 2.2, 2.2)))
    decisions = replay(events, rule)
    assert [bool(decision.worse_languages) for decision in decisions] == [
        *(False, True, False, True, False, False, True, True)
    ]
    assert [decision.verdict for decision in decisions] == ["improved"] * 7 + ["stop"]
    assert decisions[-1].worse_languages["fi"] == pytest.approx(0.3)  # over its lowest


def test_a_guard_allows_for_the_standard_error_and_the_warm_up() -> None:
    assert replay(WORSE, rule_with(language_bound=0.19))[1].worse_languages
    noisy = rule_with(language_bound=0.19, standard_errors=1.0)
    assert not replay(WORSE, noisy)[1].worse_languages
    warm = rule_with(language_bound=0.1, language_stop=True, warmup_steps=10)
    assert [decision.verdict for decision in replay(WORSE, warm)][-1] == "stop"
    assert len(replay(WORSE, warm)) == 4


def test_disabled_records_and_never_stops() -> None:
    rule = rule_with(enabled=False, language_bound=0.1, language_stop=True)
    decisions = replay(WORSE, rule)
    assert len(decisions) == 4
    assert decisions[-1].worse_languages
    assert {decision.verdict for decision in decisions} == {"improved", "disabled"}


@given(losses, rules)
def test_a_decision_names_its_rule(values: list[float], rule: EarlyStoppingParams) -> None:
    assert rule_of(decide(history(values), rule)) == rule
