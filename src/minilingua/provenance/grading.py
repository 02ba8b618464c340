"""How near a rebuilt model is to the one that it should be.

bit-identical          every output of every stage has the same hash
within tolerance       the same conversations at every step, losses that differ by rounding
statistically equal    a best validation loss as other seeds have it, where enough were trained;
                       else scores over all languages that differ by less than twice the standard
                       error
different              anything else
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from minilingua.core.events import Event, StepEvent
from minilingua.core.records import Score
from minilingua.provenance.seed_band import SeedBand, best_loss

Grade = Literal["bit-identical", "within tolerance", "statistically equal", "different"]
TOLERANCE = 1e-3
"""Largest relative difference of a step's loss that counts as rounding: other kernels sum in
another order, and training carries that on."""
STANDARD_ERRORS = 2.0
_ALL = {"all", None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A grade and the figure that it rests on."""

    grade: Grade
    reason: str


def grade(
    differing: Sequence[str],
    events: tuple[Sequence[Event], Sequence[Event]],
    scores: tuple[Sequence[Score], Sequence[Score]],
    band: SeedBand | None = None,
) -> Verdict:
    """Returns the best grade that holds.

    Args:
        differing: outputs with another hash.
        events: of the two trainings; empty where one is not known.
        scores: of the two evaluations; empty where one is not known.
        band: of the first training's parameters under other seeds, where that is known.
    """
    if not differing:
        return Verdict(grade="bit-identical", reason="every output has the same hash")
    largest = largest_loss_difference(*events)
    if largest is not None and largest <= TOLERANCE:
        reason = f"losses differ by {largest:.1e} at most, {TOLERANCE:g} is allowed"
        return Verdict(grade="within tolerance", reason=reason)
    loss = best_loss(events[1])
    if band is not None and loss is not None and band.holds(loss):
        reason = (
            f"its best validation loss {loss:.4f} lies among those of {band.seeds} seeds, "
            f"{band.low:.4f} to {band.high:.4f}"
        )
        return Verdict(grade="statistically equal", reason=reason)
    worst = worst_score(*scores)
    if worst is not None and worst[1] <= STANDARD_ERRORS:
        reason = f"{worst[0]} differs most, by {worst[1]:.1f} standard errors"
        return Verdict(grade="statistically equal", reason=reason)
    if worst is not None:
        reason = f"{worst[0]} differs by {worst[1]:.1f} standard errors"
    elif largest is not None:
        reason = f"losses differ by up to {largest:.1e}"
    else:
        reason = f"other contents: {', '.join(differing[:3])}"
    return Verdict(grade="different", reason=reason)


def largest_loss_difference(one: Sequence[Event], other: Sequence[Event]) -> float | None:
    """Returns the largest relative difference of the losses of a step.

    None where the trainings did not see the same conversations at the same steps.
    """
    a, b = (
        {event.step: event for event in events if isinstance(event, StepEvent)}
        for events in (one, other)
    )
    if not a or a.keys() != b.keys():
        return None
    if any(a[step].sample_digest != b[step].sample_digest for step in a):
        return None
    return max(abs(a[step].loss - b[step].loss) / max(abs(a[step].loss), 1e-12) for step in a)


def worst_score(one: Sequence[Score], other: Sequence[Score]) -> tuple[str, float] | None:
    """Returns the score over all languages that differs most, and by how many standard errors.

    Scores without an error (chance) are no evidence. None where there is nothing to compare.
    """
    a, b = ({_key(s): s for s in scores if _is_evidence(s)} for scores in (one, other))
    worst: tuple[str, float] | None = None
    for key in sorted(a.keys() & b.keys()):
        difference = abs(a[key].value - b[key].value)
        error = math.hypot(a[key].stderr or 0.0, b[key].stderr or 0.0)
        if error == 0.0:
            continue
        if worst is None or difference / error > worst[1]:
            worst = key, difference / error
    return worst


def _is_evidence(score: Score) -> bool:
    return (
        score.model == "result"
        and score.language == "all"
        and score.instruction_language in _ALL
        and bool(score.stderr)
    )


def _key(score: Score) -> str:
    parts = (score.task, score.answer_format, score.metric)
    return " ".join(part for part in parts if part)
