"""How far the validation loss of a training moves with the seed alone.

runs/ with the same parameters but for `seed` ─► best validation losses ─► mean ± 2 deviations
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from minilingua.core.events import EvaluationEvent, Event
from minilingua.provenance.training_record import read_run, run_directories

LEAST_SEEDS = 3
"""Fewer tell nothing of the spread."""
_DEVIATIONS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedBand:
    """Where the best validation loss of such a training lies, whatever its seed."""

    low: float
    high: float
    seeds: int

    def holds(self, loss: float) -> bool:
        """Tells whether a loss is as any seed's."""
        return self.low <= loss <= self.high


def read_seed_band(params: Mapping[str, Any]) -> SeedBand | None:
    """Returns the band of the finished trainings in ``runs/``; None where too few seeds are there.

    Args:
        params: of the training in question.

    Raises:
        DataError: a run directory cannot be read.
    """
    losses: dict[Any, float] = {}
    for directory in run_directories():
        training = read_run(directory)
        loss = best_loss(training.events)
        if training.end and loss is not None and _but_seed(training.params) == _but_seed(params):
            losses[training.params.get("seed")] = loss
    if len(losses) < LEAST_SEEDS:
        return None
    middle, spread = mean(losses.values()), _DEVIATIONS * stdev(losses.values())
    return SeedBand(low=middle - spread, high=middle + spread, seeds=len(losses))


def best_loss(events: Sequence[Event]) -> float | None:
    """Returns the lowest validation loss of a training."""
    return min((e.loss for e in events if isinstance(e, EvaluationEvent)), default=None)


def _but_seed(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what else decides how a training goes."""
    return {name: value for name, value in params.items() if name not in {"seed", "track"}}
