"""An ordered stream of conversations cut into packs and optimizer steps.

Conversations are packed within a step (unit conversations) or within a window of some steps (unit
tokens): near enough to keep the mixture of the stream, wide enough to fill packs.
"""

import itertools
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from minilingua.core.seeding import generator
from minilingua.packing.corpus import Ints
from minilingua.packing.fit import best_fit_decreasing

_WINDOW_PACKS = 64
"""Least packs of a window: some hundred conversations are enough to fill packs to 99 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Steps of packs of conversations; indices into the stream."""

    order: Ints
    """[n] the conversations, pack after pack."""
    pack_offsets: Ints
    """[packs + 1] into ``order``."""
    step_offsets: Ints
    """[steps + 1] into packs."""
    left_out: Ints
    """Conversations of a last step that held less than half of a batch."""


def steps_of_conversations(lengths: Ints, *, capacity: int, batch: int) -> Schedule:
    """Gives every step exactly ``batch`` conversations, in as few packs as best fit finds.

    Args:
        lengths: [n] tokens of each conversation, in the order of the stream.
        capacity: tokens a pack holds.
        batch: conversations a step. A last step with less than half of it is left out.
    """
    total = len(lengths)
    rest = total % batch
    kept = total - rest if 2 * rest < batch else total
    steps = (
        [
            [begin + index for index in pack]
            for pack in best_fit_decreasing(lengths[begin : min(begin + batch, kept)], capacity)
        ]
        for begin in range(0, kept, batch)
    )
    return _schedule(steps, np.arange(kept, total))


def steps_of_packs(lengths: Ints, *, capacity: int, batch: int, seed: int) -> Schedule:
    """Gives every step exactly ``batch`` packs, filled as well as possible.

    Within a window packs are shuffled: best fit opens those of long conversations first.

    Args:
        lengths: [n] tokens of each conversation, in the order of the stream.
        capacity: tokens a pack holds.
        batch: packs a step. A last step with less than half of it is left out.
        seed: of the shuffles.
    """
    packs: list[array[int]] = []
    window = -(-_WINDOW_PACKS // batch) * batch * capacity
    edges = np.searchsorted(np.cumsum(lengths), np.arange(window, lengths.sum(), window)) + 1
    bounds = np.unique(np.concatenate([[0], edges, [len(lengths)]]))
    carried: list[int] = []
    for number, (begin, end) in enumerate(itertools.pairwise(bounds.tolist())):
        held = int(lengths[carried].sum())
        filled = [
            [begin + index for index in pack]
            for pack in best_fit_decreasing(lengths[begin:end], capacity, held)
        ]
        first_new = 0
        if carried:
            filled[0] = carried + filled[0]
            first_new = 1
        carried = []
        if end < len(lengths):  # the emptiest new pack stays open for the next window
            fills = [int(lengths[pack].sum()) for pack in filled]
            emptiest = min(range(first_new, len(filled)), key=fills.__getitem__)
            if fills[emptiest] < capacity:
                carried = filled.pop(emptiest)
        shuffle = generator(seed, "pack", "window", number).permutation(len(filled))
        packs += [array("i", filled[index]) for index in shuffle]
    rest = len(packs) % batch
    kept = len(packs) - rest if 2 * rest < batch else len(packs)
    left_out = np.array(sorted(index for pack in packs[kept:] for index in pack), dtype=np.int32)
    steps = (packs[begin : min(begin + batch, kept)] for begin in range(0, kept, batch))
    return _schedule(steps, left_out)


def one_step(parts: Iterable[Ints], *, capacity: int) -> Schedule:
    """Packs each part on its own, all packs in one step.

    Args:
        parts: the lengths of each language's conversations; indices run on over the parts.
        capacity: tokens a pack holds.
    """
    packs: list[list[int]] = []
    begin = 0
    for lengths in parts:
        packs += [
            [begin + index for index in pack] for pack in best_fit_decreasing(lengths, capacity)
        ]
        begin += len(lengths)
    return _schedule([packs], np.zeros(0, dtype=np.int32))


def _schedule(steps: Iterable[Iterable[Iterable[int]]], left_out: Ints) -> Schedule:
    order = array("i")  # a tenth of the memory of a list of numbers
    pack_offsets, step_offsets = array("q", [0]), array("q", [0])
    for step in steps:
        for pack in step:
            order.extend(pack)
            pack_offsets.append(len(order))
        step_offsets.append(len(pack_offsets) - 1)
    return Schedule(
        order=np.array(order, dtype=np.int32),
        pack_offsets=np.array(pack_offsets, dtype=np.int64),
        step_offsets=np.array(step_offsets, dtype=np.int64),
        left_out=left_out,
    )
