"""Events, telemetry and scores as points of MLflow metrics. Pure functions of what they are given.

train/..            loss, learning rate, gradient norm, tokens
validation_loss/..  all, and each language
early_stopping/..   best loss and step, evaluations without improvement
throughput/..       seconds and tokens, from telemetry
system/..           processors, memory and GPUs; the step is the number of the sample
evaluation/..       MODEL/TASK/ANSWER FORMAT/LANGUAGE/METRIC
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from minilingua.core.events import DecisionEvent, EndEvent, EvaluationEvent, Event, StepEvent
from minilingua.core.records import Score
from minilingua.provenance.training_record import Clock, Training, milliseconds, step_records

ALL = "all"

_METRIC_NAMES = {"nats_per_supervised_token": ""}
"""The name of a loss says it."""

_FORMATS = ("all", "letter", "number", "text")
_NATS = (None, "nats_per_supervised_token")
_HEADLINES: dict[str, frozenset[tuple[str | None, str]]] = {
    "mcqa": frozenset((form, metric) for form in _FORMATS for metric in ("accuracy", "chance")),
    "mcqa_seen_facts": frozenset({("text", "accuracy")}),
    "mcqa_unseen_facts": frozenset({("text", "accuracy")}),
    "mcqa_generated": frozenset(
        {*((form, "accuracy") for form in _FORMATS), ("all", "unparsable")}
    ),
    "loss": frozenset({_NATS, (None, "bits_per_byte")}),
    "loss_shuffled_prompts": frozenset({_NATS}),
    "unigram_loss": frozenset({_NATS}),
    "answers": frozenset({(None, "stop_rate"), (None, "repetition")}),
}
"""Task ─► answer format and metric of what has a chart."""

_TEXT_ACCURACY = ("result", "mcqa", "accuracy", "text")

_THROUGHPUT = {
    "seconds": "throughput/step_seconds",
    "tokens_per_second": "throughput/tokens_per_second",
    "supervised_tokens_per_second": "throughput/supervised_tokens_per_second",
    "memory_mb": "throughput/memory_mb",
}

_NO_FIGURES = frozenset({"kind", "attempt", "time", "step"})


class Point(NamedTuple):
    """One value of one metric. A tuple, for there are a million of them in a long training."""

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
    points = []
    known_step, time_ms = -1, 0
    for key, step, value in chain(_event_values(events), _throughput(training)):
        if step != known_step:
            known_step, time_ms = step, clock.milliseconds(step)
        points.append(Point(key, step, float(value), time_ms))
    points.extend(_system(training))
    return points


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


def _system(training: Training) -> Iterator[Point]:
    """Yields the samples of all attempts, one after the other."""
    samples = (record for record in training.telemetry if record.get("kind") == "system")
    for number, record in enumerate(samples):
        for name in sorted(record.keys() - _NO_FIGURES):
            yield Point(
                key=f"system/{name}",
                step=number,
                value=float(record[name]),
                time_ms=milliseconds(record),
            )


def evaluation_points(scores: Sequence[Score], *, time_ms: int) -> list[Point]:
    """Returns the scores that are worth a chart; the table holds them all, which are hundreds.

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
        if (score.answer_format, score.metric) not in _HEADLINES.get(score.task, ()):
            return None
        parts = (score.task, score.answer_format, _METRIC_NAMES.get(score.metric, score.metric))
        return f"evaluation_{score.model}/{'_'.join(part for part in parts if part)}"
    if (score.model, score.task, score.answer_format, score.metric) == ("result", "loss", *_NATS):
        return f"evaluation_loss/{score.language}"
    if (score.model, score.task, score.metric, score.answer_format) == _TEXT_ACCURACY:
        return f"evaluation_text_accuracy/{score.language}"
    return None
