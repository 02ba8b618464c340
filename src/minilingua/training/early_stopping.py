"""Early stopping as a pure function: evaluations and a rule in, one decision an evaluation out.

Nothing is remembered between calls, so the decisions of a training can be computed again from its
events, also under another rule.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from minilingua.core.events import DecisionEvent, EvaluationEvent, Event
from minilingua.params import EarlyStoppingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One evaluation, as far as early stopping looks at it."""

    step: int
    loss: float
    """Validation loss in total, nats per supervised token."""


def decide(history: Sequence[Evaluated], rule: EarlyStoppingParams) -> DecisionEvent:
    """Returns the decision after the last evaluation of a history.

    An evaluation improves when its loss is below the best one before it by more than
    ``min_delta``. The first one always does. ``patience`` evaluations in a row without improvement
    stop the training.

    Args:
        history: all evaluations so far, in their order; not empty.
        rule: the parameters of early stopping.
    """
    best, waited = history[0], 0
    for evaluated in history[1:]:
        if evaluated.loss < best.loss - rule.min_delta:
            best, waited = evaluated, 0
        else:
            waited += 1
    last = history[-1]
    if waited == 0:
        verdict, reason = "improved", f"The loss {last.loss:.4f} is the lowest so far."
    else:
        times = "evaluation" if waited == 1 else "evaluations"
        reason = (
            f"{waited} {times} without improving on {best.loss:.4f} of step {best.step} "
            f"by more than {rule.min_delta:g}; patience is {rule.patience}."
        )
        verdict = "stop" if waited >= rule.patience else "waiting"
        if not rule.enabled:
            verdict = "disabled"
    return DecisionEvent(
        step=last.step,
        loss=last.loss,
        best_step=best.step,
        best_loss=best.loss,
        evaluations_without_improvement=waited,
        patience=rule.patience,
        min_delta=rule.min_delta,
        verdict=verdict,  # type: ignore[arg-type]  # one of the literals above
        reason=reason,
    )


def replay(events: Iterable[Event], rule: EarlyStoppingParams) -> list[DecisionEvent]:
    """Returns the decisions that a rule would have taken, up to the one that stops."""
    history: list[Evaluated] = []
    decisions: list[DecisionEvent] = []
    for event in events:
        if isinstance(event, EvaluationEvent):
            history.append(Evaluated(step=event.step, loss=event.loss))
            decisions.append(decide(history, rule))
            if decisions[-1].verdict == "stop":
                break
    return decisions
