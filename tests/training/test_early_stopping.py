from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.events import EvaluationEvent, Event
from minilingua.params import EarlyStoppingParams
from minilingua.training.early_stopping import Evaluated, decide, replay

losses = st.lists(st.floats(0, 10, allow_nan=False), min_size=1, max_size=20)
rules = st.builds(
    EarlyStoppingParams,
    enabled=st.booleans(),
    patience=st.integers(1, 5),
    min_delta=st.sampled_from([0.0, 0.1, 1.0]),
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
    rule = EarlyStoppingParams(enabled=True, patience=1, min_delta=0.0)
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
    rule = EarlyStoppingParams(enabled=True, patience=2, min_delta=0.0)
    reasons = [decision.reason for decision in replay(evaluations([2.0, 1.0, 1.5, 1.0, 3]), rule)]
    assert reasons == [
        "The loss 2.0000 is the lowest so far.",
        "The loss 1.0000 is the lowest so far.",
        "1 evaluation without improving on 1.0000 of step 10 by more than 0; patience is 2.",
        "2 evaluations without improving on 1.0000 of step 10 by more than 0; patience is 2.",
    ]
