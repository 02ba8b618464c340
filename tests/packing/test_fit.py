import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.packing.fit import best_fit_decreasing
from tests.packing.conftest import realistic_lengths

CAPACITY = 40
lengths_strategy = st.lists(st.integers(1, CAPACITY), max_size=60)


def naive_best_fit_decreasing(lengths: list[int], capacity: int, held: int) -> list[list[int]]:
    """Looks at every pack for every conversation."""
    packs: list[list[int]] = [[]] if held else []
    rooms: list[int] = [capacity - held] if held else []
    for index in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        fitting = [(room, pack) for pack, room in enumerate(rooms) if room >= lengths[index]]
        if fitting:
            _, best = min(fitting)
        else:
            best = len(packs)
            packs.append([])
            rooms.append(capacity)
        packs[best].append(index)
        rooms[best] -= lengths[index]
    return [sorted(pack) for pack in packs]


@given(lengths_strategy, st.integers(0, CAPACITY - 1))
def test_equals_the_naive_algorithm(lengths: list[int], held: int) -> None:
    fast = best_fit_decreasing(np.array(lengths, dtype=np.int64), CAPACITY, held)
    assert fast == naive_best_fit_decreasing(lengths, CAPACITY, held)


@given(lengths_strategy)
def test_each_conversation_is_in_one_pack_and_no_pack_overflows(lengths: list[int]) -> None:
    packs = best_fit_decreasing(np.array(lengths, dtype=np.int64), CAPACITY)
    assert sorted(index for pack in packs for index in pack) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in pack) <= CAPACITY for pack in packs)


@given(lengths_strategy)
def test_no_two_packs_could_be_one(lengths: list[int]) -> None:
    packs = best_fit_decreasing(np.array(lengths, dtype=np.int64), CAPACITY)
    fills = sorted(sum(lengths[index] for index in pack) for pack in packs)
    assert len(fills) < 2 or fills[0] + fills[1] > CAPACITY


@pytest.mark.parametrize("seed", range(5))
def test_realistic_lengths_need_the_fewest_packs_possible(seed: int) -> None:
    lengths = realistic_lengths(800, seed)
    packs = best_fit_decreasing(lengths, 1024)
    assert len(packs) == -(-int(lengths.sum()) // 1024)
