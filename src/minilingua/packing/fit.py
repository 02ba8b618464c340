"""Best-fit-decreasing bin packing of conversations into packs."""

from bisect import bisect_left, insort

import numpy as np

from minilingua.packing.corpus import Ints


def best_fit_decreasing(lengths: Ints, capacity: int, held: int = 0) -> list[list[int]]:
    """Packs conversations, the longest first, each where it leaves the least room.

    Uses at most 11/9 of the fewest possible packs plus four (Johnson, 1973), and with many short
    conversations almost none more. Ties: the conversation that comes first, the pack opened first.

    Args:
        lengths: [n] tokens of each conversation, 1 to ``capacity``.
        capacity: tokens a pack holds.
        held: tokens that a pack which is open already holds, less than ``capacity``; 0: there is
            none.

    Returns:
        The packs in the order in which they were opened, the open one first; each lists indices
        into ``lengths``, ascending.
    """
    packs: list[list[int]] = [[]] if held else []
    # Packs with room, as room * n + number: sorted by room, then by age; room is never zero.
    scale = len(lengths) + 1
    open_packs = [(capacity - held) * scale] if held else []
    for index in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[index])
        place = bisect_left(open_packs, length * scale)
        if place == len(open_packs):
            room, number = capacity, len(packs)
            packs.append([index])
        else:
            room, number = divmod(open_packs.pop(place), scale)
            packs[number].append(index)
        if room > length:
            insort(open_packs, (room - length) * scale + number)
    for pack in packs:
        pack.sort()
    return packs
