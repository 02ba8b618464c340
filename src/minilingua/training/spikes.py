"""Losses that jump: noticed, recorded, and after a bound the end of the training.

    losses of the steps before ─► median ─► this loss above it by more than the threshold? ─► spike
    as many spikes in a row as patience ─► stop; no state is saved while a spike lasts

A pure function of the losses so far, which the events hold: a restart sees the same spikes.
"""

from collections.abc import Sequence
from statistics import median

from minilingua.core.events import SpikeEvent
from minilingua.params import SpikeParams

_LEAST = 5
"""Losses that a median needs: the first ones of a training fall steeply."""


def needed_losses(rule: SpikeParams) -> int:
    """Returns how many of the last losses show a row of spikes, and the window before each."""
    return max(rule.window, _LEAST) + rule.patience


def find_spike(losses: Sequence[float], rule: SpikeParams, step: int) -> SpikeEvent | None:
    """Returns the spike of the last loss, or None if it is none.

    Args:
        losses: of the steps up to this one, in their order; not empty.
        rule: the parameters.
        step: number of the last one.
    """
    if rule.threshold is None:
        return None
    in_a_row, level = 0, 0.0
    for end in range(len(losses), _LEAST, -1):
        before = losses[max(0, end - 1 - rule.window) : end - 1]
        above = losses[end - 1] - median(before)
        if above <= rule.threshold:
            break
        in_a_row += 1
        level = level or median(before)
        if in_a_row >= rule.patience:
            break
    if in_a_row == 0:
        return None
    return SpikeEvent(step=step, loss=losses[-1], median=level, in_a_row=in_a_row)
