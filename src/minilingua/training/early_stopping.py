"""Early stopping as a pure function: evaluations and a rule in, one decision an evaluation out.

    evaluations ─┬─► best so far ─► improved?  loss < best - margin, margin = min_delta + k x error
                 ├─► waiting, and when it has waited long enough: stop
                 └─► each language against its own best ─► worse by more than its bound?

``error`` is the standard error of the validation loss: a decrease within it may be chance. All
evaluations use the same conversations, so the error of a *difference* is smaller; k = 1 is already
a cautious rule. Nothing is remembered between calls: the decisions of a training can be computed
again from its events, also under another rule (`minilingua early-stopping`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from minilingua.core.events import DecisionEvent, EvaluationEvent, Event
from minilingua.params import EarlyStoppingParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """One evaluation, as far as early stopping looks at it."""

    step: int
    loss: float
    """Validation loss in total, nats per supervised token."""
    standard_error: float = 0.0
    """Of ``loss``; 0: not known."""
    languages: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Loss and standard error of each language."""


def evaluated(event: EvaluationEvent) -> Evaluated:
    """Returns what early stopping looks at."""
    return Evaluated(
        step=event.step,
        loss=event.loss,
        standard_error=event.standard_error or 0.0,
        languages={
            code: (found.loss, found.standard_error or 0.0)
            for code, found in event.languages.items()
        },
    )


def decide(history: Sequence[Evaluated], rule: EarlyStoppingParams) -> DecisionEvent:
    """Returns the decision after the last evaluation of a history.

    An evaluation improves when its loss is below the best one before it by more than ``min_delta``
    plus ``standard_errors`` times its standard error. The first one always does. ``patience``
    evaluations in a row without improvement stop the training; those up to ``warmup_steps`` are not
    counted. A language is worse when its loss is above its own lowest one by more than
    ``language_bound`` plus the same multiple of its standard error; with ``language_stop``,
    ``patience`` evaluations in a row in which some language is worse stop the training too.

    Args:
        history: all evaluations so far, in their order; not empty.
        rule: the parameters of early stopping.
    """
    best, waited, guarded = history[0], 0, 0
    worse = _worse_languages(history[:1], rule)
    for number, item in enumerate(history[1:], start=2):
        counts = item.step > rule.warmup_steps
        if item.loss < best.loss - _margin(item, rule):
            best, waited = item, 0
        elif counts:
            waited += 1
        worse = _worse_languages(history[:number], rule)
        guarded = guarded + 1 if worse and counts else 0
    last = history[-1]
    verdict, reason = _verdict(last, best, waited, rule)
    if worse:
        reason += " " + _explain(worse)
    if rule.language_stop and guarded >= rule.patience and verdict != "stop":
        verdict = "stop"
        reason += f" That has been so for {guarded} evaluations; patience is {rule.patience}."
    if verdict in {"waiting", "warmup", "stop"} and not rule.enabled:
        verdict = "disabled"
    return DecisionEvent(
        step=last.step,
        loss=last.loss,
        best_step=best.step,
        best_loss=best.loss,
        evaluations_without_improvement=waited,
        patience=rule.patience,
        min_delta=rule.min_delta,
        verdict=verdict,  # type: ignore[arg-type]  # one of the literals
        reason=reason,
        margin=_margin(last, rule),
        worse_languages=worse,
        enabled=rule.enabled,
        warmup_steps=rule.warmup_steps,
        standard_errors=rule.standard_errors,
        language_bound=rule.language_bound,
        language_stop=rule.language_stop,
    )


def rule_of(decision: DecisionEvent) -> EarlyStoppingParams:
    """Returns the rule that a decision was taken by."""
    return EarlyStoppingParams(
        enabled=decision.enabled,
        patience=decision.patience,
        min_delta=decision.min_delta,
        warmup_steps=decision.warmup_steps,
        standard_errors=decision.standard_errors,
        language_bound=decision.language_bound,
        language_stop=decision.language_stop,
    )


def replay(events: Iterable[Event], rule: EarlyStoppingParams) -> list[DecisionEvent]:
    """Returns the decisions that a rule would have taken, up to the one that stops."""
    history: list[Evaluated] = []
    decisions: list[DecisionEvent] = []
    for event in events:
        if isinstance(event, EvaluationEvent):
            history.append(evaluated(event))
            decisions.append(decide(history, rule))
            if decisions[-1].verdict == "stop":
                break
    return decisions


def _margin(item: Evaluated, rule: EarlyStoppingParams) -> float:
    return rule.min_delta + rule.standard_errors * item.standard_error


def _verdict(
    last: Evaluated, best: Evaluated, waited: int, rule: EarlyStoppingParams
) -> tuple[str, str]:
    if best is last:
        return "improved", f"The loss {last.loss:.4f} is the lowest so far."
    if last.step <= rule.warmup_steps:
        return "warmup", (
            f"No improvement on {best.loss:.4f} of step {best.step}; not counted before step "
            f"{rule.warmup_steps}."
        )
    times = "evaluation" if waited == 1 else "evaluations"
    reason = (
        f"{waited} {times} without improving on {best.loss:.4f} of step {best.step} "
        f"by more than {_margin(last, rule):g}; patience is {rule.patience}."
    )
    return "stop" if waited >= rule.patience else "waiting", reason


def _worse_languages(history: Sequence[Evaluated], rule: EarlyStoppingParams) -> dict[str, float]:
    """Returns by how much each language exceeds its lowest loss, where that is too much."""
    if rule.language_bound is None:
        return {}
    worse: dict[str, float] = {}
    for code, (loss, error) in history[-1].languages.items():
        lowest = min(item.languages[code][0] for item in history if code in item.languages)
        if loss - lowest > rule.language_bound + rule.standard_errors * error:
            worse[code] = loss - lowest
    return worse


def _explain(worse: Mapping[str, float]) -> str:
    listed = ", ".join(f"{code} by {increase:.4f}" for code, increase in sorted(worse.items()))
    return f"Above their own lowest loss: {listed}."
