"""The project's packing beside next-fit and first-fit, the two that are written in a minute."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks.harness import interleave, timed
from benchmarks.results import Row, row
from minilingua.packing.schedule import steps_of_packs
from minilingua.packing.stream import CONVERSATION

Ints = npt.NDArray[np.int64]

_BATCH_PACKS = 64


def ours(lengths: Ints, capacity: int) -> int:
    """Best-fit-decreasing in windows that keep the order of the mixture, as the stage packs."""
    stream = np.zeros(len(lengths), dtype=CONVERSATION)
    stream["length"] = lengths
    steps = steps_of_packs([stream], capacity=capacity, batch=_BATCH_PACKS, seed=1)
    return sum(len(step.packs) for step in steps)


def next_fit(lengths: Ints, capacity: int) -> int:
    """Closes a pack as soon as the next conversation does not fit."""
    packs, room = 0, 0
    for length in lengths.tolist():
        if length > room:
            packs, room = packs + 1, capacity
        room -= length
    return packs


def first_fit(lengths: Ints, capacity: int) -> int:
    """Puts every conversation into the first pack with room, looking at all of them."""
    rooms: list[int] = []
    for length in lengths.tolist():
        for pack, room in enumerate(rooms):
            if room >= length:
                rooms[pack] -= length
                break
        else:
            rooms.append(capacity - length)
    return len(rooms)


PACKERS: dict[str, Callable[[Ints, int], int]] = {
    "ours": ours,
    "next fit": next_fit,
    "first fit": first_fit,
}


def compare(lengths: Ints, capacity: int, repetitions: int) -> tuple[list[Row], dict[str, float]]:
    """Packs the same conversations in each way; returns the ratios and the fill of each."""
    timings = interleave(
        {
            name: timed(lambda packer=packer: packer(lengths, capacity))  # type: ignore[misc]  # a default binds it
            for name, packer in PACKERS.items()
        },
        repetitions=repetitions,
        label="packing",
    )
    fills = {
        name: round(float(lengths.sum()) / (packer(lengths, capacity) * capacity), 6)
        for name, packer in PACKERS.items()
    }
    case = f"packing {len(lengths):,} conversations, {fills['ours']:.2%} full"
    rows = [
        row(timings, case, f"{name}, {fills[name]:.2%} full", ours="ours", theirs=name)
        for name in PACKERS
        if name != "ours"
    ]
    return rows, fills
