"""A stream of conversations cut into packs and optimizer steps, each yielded when it is full.

Conversations are packed within a step (unit conversations) or within a window of some steps (unit
tokens): near enough to keep the mixture of the stream, wide enough to fill packs.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from minilingua.core.seeding import generator
from minilingua.packing.corpus import Ints
from minilingua.packing.fit import best_fit_decreasing
from minilingua.packing.stream import CONVERSATION, Conversations

Item = TypeVar("Item")

_WINDOW_PACKS = 64
"""Least packs of a window: some hundred conversations are enough to fill packs to 99 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Packs of conversations."""

    packs: list[Conversations]
    is_left_out: bool = False
    """It came last and is less than half of a step: it is not trained."""


def steps_of_conversations(
    stream: Iterable[Conversations], *, capacity: int, batch: int
) -> Iterator[Step]:
    """Gives every step exactly ``batch`` conversations, in as few packs as best fit finds.

    Args:
        stream: blocks of any size.
        capacity: tokens a pack holds.
        batch: conversations a step. A last step with less than half of it is left out.
    """
    for window in _windows(stream, lambda block: np.ones(len(block), dtype=np.int64), batch):
        packs = [window[pack] for pack in best_fit_decreasing(window["length"], capacity)]
        yield Step(packs=packs, is_left_out=2 * len(window) < batch)


def steps_of_packs(
    stream: Iterable[Conversations], *, capacity: int, batch: int, seed: int
) -> Iterator[Step]:
    """Gives every step exactly ``batch`` packs, filled as well as possible.

    Within a window packs are shuffled: best fit opens those of long conversations first.

    Args:
        stream: blocks of any size.
        capacity: tokens a pack holds.
        batch: packs a step. A last step with less than half of it is left out.
        seed: of the shuffles.
    """
    ready: list[Conversations] = []
    carried = np.zeros(0, dtype=CONVERSATION)
    tokens = -(-_WINDOW_PACKS // batch) * batch * capacity
    windows = _windows(stream, lambda block: block["length"], tokens)
    for number, (window, is_last) in enumerate(_told_the_last(windows)):
        held = int(carried["length"].sum())
        filled = [window[pack] for pack in best_fit_decreasing(window["length"], capacity, held)]
        first_new = 0
        if held:
            filled[0] = np.concatenate([carried, filled[0]])
            first_new = 1
        carried = carried[:0]
        if not is_last:  # the emptiest new pack stays open for the next window
            fills = [int(pack["length"].sum()) for pack in filled]
            emptiest = min(range(first_new, len(filled)), key=fills.__getitem__)
            if fills[emptiest] < capacity:
                carried = filled.pop(emptiest)
        shuffle = generator(seed, "pack", "window", number).permutation(len(filled))
        ready += [filled[index] for index in shuffle]
        while len(ready) >= batch:
            yield Step(packs=ready[:batch])
            del ready[:batch]
    if ready:
        yield Step(packs=ready, is_left_out=2 * len(ready) < batch)


def one_step(stream: Iterable[Conversations], *, capacity: int) -> Iterator[Step]:
    """Packs each block on its own, all packs in one step.

    Args:
        stream: a block for each language.
        capacity: tokens a pack holds.
    """
    yield Step(
        packs=[
            block[pack]
            for block in stream
            for pack in best_fit_decreasing(block["length"], capacity)
        ]
    )


def _windows(
    blocks: Iterable[Conversations], amounts: Callable[[Conversations], Ints], size: int
) -> Iterator[Conversations]:
    """Cuts after each conversation with which the sum of amounts reaches a multiple of ``size``."""
    held: list[Conversations] = []
    total, edge = 0, size
    for block in blocks:
        upto = total + np.cumsum(amounts(block), dtype=np.int64)
        begin = 0
        while (end := int(np.searchsorted(upto, edge)) + 1) <= len(block):
            yield np.concatenate([*held, block[begin:end]])
            held, begin, edge = [], end, edge + size
        held.append(block[begin:])
        total = int(upto[-1]) if len(block) else total
    if any(map(len, held)):
        yield np.concatenate(held)


def _told_the_last(items: Iterable[Item]) -> Iterator[tuple[Item, bool]]:
    """Yields each with whether it is the last."""
    held: list[Item] = []
    for item in items:
        yield from ((before, False) for before in held)
        held = [item]
    yield from ((last, True) for last in held)
