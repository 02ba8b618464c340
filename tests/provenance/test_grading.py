from dataclasses import replace
from typing import Any

import pytest

from minilingua.core.events import Event, StepEvent
from minilingua.core.records import Score
from minilingua.provenance.grading import TOLERANCE, grade, worst_score
from tests.tracking.workspace import training_events

EVENTS = training_events()
SCORES = [
    Score(
        model="result", task="loss", language="all", answer_format=None,
        instruction_language=None, metric="nats", value=4.0, stderr=0.1, n=100,
    )
]  # fmt: skip


def changed(events: list[Event], **values: Any) -> list[Event]:
    return [replace(e, **values) if isinstance(e, StepEvent) else e for e in events]


def nudged(factor: float) -> list[Event]:
    return [
        replace(e, loss=e.loss * factor) if isinstance(e, StepEvent) and e.step > 3 else e
        for e in EVENTS
    ]


def moved(by: float) -> list[Score]:
    return [replace(score, value=score.value + by) for score in SCORES]


def test_equal_hashes_need_no_more() -> None:
    verdict = grade([], (EVENTS, nudged(2)), (SCORES, moved(9)))
    assert verdict.grade == "bit-identical"


@pytest.mark.parametrize(
    ("events", "scores", "expected"),
    [
        (nudged(1 + TOLERANCE / 2), moved(9), "within tolerance"),
        (nudged(1 + 2 * TOLERANCE), moved(0.2), "statistically equal"),
        (nudged(1 + 2 * TOLERANCE), moved(0.5), "different"),
        (changed(EVENTS, sample_digest="f" * 16), moved(0.1), "statistically equal"),
        (EVENTS[:-4], moved(0.1), "statistically equal"),
        ([], [], "different"),
        (nudged(1 + 2 * TOLERANCE), [], "different"),
    ],
)
def test_the_best_grade_that_holds(events: list[Event], scores: list[Score], expected: str) -> None:
    assert grade(["models/hf"], (EVENTS, events), (SCORES, scores)).grade == expected


def test_scores_without_an_error_are_no_evidence() -> None:
    chance = [replace(SCORES[0], metric="chance", stderr=None)]
    assert worst_score(chance, [replace(chance[0], value=9.0)]) is None
    worst = worst_score(SCORES, moved(0.3))
    assert worst is not None
    assert worst[0] == "loss nats"
    assert worst[1] == pytest.approx(0.3 / (0.1 * 2**0.5))
