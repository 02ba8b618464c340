"""Events, telemetry and scores as points of MLflow metrics. Pure functions of what they are given.

train/..            loss, learning rate, gradient norm, tokens
validation_loss/..  all, and each language
early_stopping/..   best loss and step, evaluations without improvement
throughput/..       seconds and tokens, from telemetry
evaluation/..       MODEL/TASK/ANSWER FORMAT/LANGUAGE/METRIC
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from minilingua.core.events import DecisionEvent, EndEvent, EvaluationEvent, Event, StepEvent
from minilingua.core.records import Score
from minilingua.provenance.training_record import Clock, Training, step_records

ALL = "all"

_METRIC_NAMES = {"nats_per_supervised_token": ""}
"""The name of a loss says it."""

_TEXT_ACCURACY = ("result", "mcqa", "accuracy", "text")

_THROUGHPUT = {
    "seconds": "throughput/step_seconds",
    "tokens_per_second": "throughput/tokens_per_second",
    "supervised_tokens_per_second": "throughput/supervised_tokens_per_second",
    "memory_mb": "throughput/memory_mb",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of one metric."""

    key: str
    step: int
    value: float
    time_ms: int
    """Unix time in milliseconds."""


def training_points(training: Training, *, alive: bool) -> list[Point]:
    """Returns all points of a training so far.

    While it is alive, an event waits until the time of its step is known: what was logged once
    then never has to change.
    """
    clock = Clock(training)
    events = [e for e in training.events if not alive or e.step <= clock.last_step]
    return [
        Point(key=key, step=step, value=float(value), time_ms=clock.milliseconds(step))
        for key, step, value in (*_event_values(events), *_throughput(training))
    ]


def _event_values(events: Iterable[Event]) -> Iterator[tuple[str, int, float]]:
    tokens = supervised = 0
    for event in events:
        step = event.step
        if isinstance(event, StepEvent):
            tokens += event.tokens
            supervised += event.supervised_tokens
            yield "train/loss", step, event.loss
            yield "train/learning_rate", step, event.learning_rate
            yield "train/grad_norm", step, event.grad_norm
            yield "train/tokens", step, event.tokens
            yield "train/supervised_tokens", step, event.supervised_tokens
            yield "train/conversations", step, event.conversations
            yield "train/tokens_seen", step, tokens
            yield "train/supervised_tokens_seen", step, supervised
        elif isinstance(event, EvaluationEvent):
            yield f"validation_loss/{ALL}", step, event.loss
            for language, found in event.languages.items():
                yield f"validation_loss/{language}", step, found.loss
        elif isinstance(event, DecisionEvent):
            yield "early_stopping/best_loss", step, event.best_loss
            yield "early_stopping/best_step", step, event.best_step
            waited = event.evaluations_without_improvement
            yield "early_stopping/evaluations_without_improvement", step, waited
            yield "early_stopping/stop", step, event.verdict == "stop"
        elif isinstance(event, EndEvent):
            yield "early_stopping/steps_trained", step, event.step


def _throughput(training: Training) -> Iterator[tuple[str, int, float]]:
    for record in step_records(training.telemetry):
        for name, key in _THROUGHPUT.items():
            value = record.get(name)
            if isinstance(value, int | float):
                yield key, int(record["step"]), value


def evaluation_points(scores: Sequence[Score], *, time_ms: int) -> list[Point]:
    """Returns the scores that are worth a metric; the table holds them all.

    The UI makes a section of charts of what comes before the last slash: one for each model over
    all languages, and for the result one a figure, with a bar for each language.
    """
    return [
        Point(key=key, step=0, value=score.value, time_ms=time_ms)
        for score in scores
        if (key := _score_key(score)) is not None
    ]


def _score_key(score: Score) -> str | None:
    if score.instruction_language not in {None, ALL}:
        return None
    if score.language == ALL:
        parts = (score.task, score.answer_format, _METRIC_NAMES.get(score.metric, score.metric))
        return f"evaluation_{score.model}/{'_'.join(part for part in parts if part)}"
    if score.model == "result" and score.task == "loss":
        return f"evaluation_loss/{score.language}"
    if (score.model, score.task, score.metric, score.answer_format) == _TEXT_ACCURACY:
        return f"evaluation_text_accuracy/{score.language}"
    return None
