import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.packing.corpus import Ints
from minilingua.packing.schedule import (
    Schedule,
    one_step,
    steps_of_conversations,
    steps_of_packs,
)
from tests.packing.conftest import realistic_lengths

CAPACITY = 30
streams = st.lists(st.integers(1, CAPACITY), max_size=400).map(
    lambda lengths: np.array(lengths, dtype=np.int64)
)


def packs(schedule: Schedule) -> list[Ints]:
    return [schedule.order[begin:end] for begin, end in itertools.pairwise(schedule.pack_offsets)]


def check(schedule: Schedule, lengths: Ints, capacity: int) -> None:
    """Nothing lost, doubled or split, nothing too full, offsets complete."""
    everything = np.concatenate([schedule.order, schedule.left_out])
    assert sorted(everything.tolist()) == list(range(len(lengths)))
    assert all(0 < lengths[pack].sum() <= capacity for pack in packs(schedule))
    assert schedule.pack_offsets[0] == schedule.step_offsets[0] == 0
    assert schedule.pack_offsets[-1] == len(schedule.order)
    assert schedule.step_offsets[-1] == len(schedule.pack_offsets) - 1


@given(streams, st.integers(1, 30))
def test_steps_hold_exactly_their_conversations_in_the_order_of_the_stream(
    lengths: Ints, batch: int
) -> None:
    schedule = steps_of_conversations(lengths, capacity=CAPACITY, batch=batch)
    check(schedule, lengths, CAPACITY)
    bounds = schedule.pack_offsets[schedule.step_offsets]
    held = np.diff(bounds)
    assert (held[:-1] == batch).all()
    assert not len(held) or 2 * held[-1] >= batch
    assert 2 * len(schedule.left_out) < batch
    for step, (begin, end) in enumerate(itertools.pairwise(bounds.tolist())):
        members = sorted(schedule.order[begin:end].tolist())
        assert members == list(range(step * batch, step * batch + len(members)))


@given(streams, st.integers(1, 90), st.integers(0, 9))
def test_steps_hold_exactly_their_packs(lengths: Ints, batch: int, seed: int) -> None:
    schedule = steps_of_packs(lengths, capacity=CAPACITY, batch=batch, seed=seed)
    check(schedule, lengths, CAPACITY)
    held = np.diff(schedule.step_offsets)
    assert (held[:-1] == batch).all()
    assert not len(held) or 2 * held[-1] >= batch


@pytest.mark.parametrize("batch", [1, 4, 256])
@pytest.mark.parametrize("capacity", [1024, 2048])
def test_packs_are_filled_to_99_percent(batch: int, capacity: int) -> None:
    lengths = realistic_lengths(12_000, seed=batch)
    schedule = steps_of_packs(lengths, capacity=capacity, batch=batch, seed=1)
    check(schedule, lengths, capacity)
    tokens = int(lengths[schedule.order].sum())
    assert tokens / (capacity * len(packs(schedule))) >= 0.99


def test_the_stream_is_kept_but_for_a_window() -> None:
    lengths = realistic_lengths(20_000, seed=5)
    schedule = steps_of_packs(lengths, capacity=1024, batch=4, seed=1)
    window = 2 * 64 * 1024 / lengths.mean()
    assert np.abs(schedule.order - np.arange(len(schedule.order))).max() < window


def test_packs_of_a_step_are_not_sorted_by_length() -> None:
    lengths = realistic_lengths(12_000, seed=5)
    schedule = steps_of_packs(lengths, capacity=1024, batch=4, seed=1)
    held = np.array([len(pack) for pack in packs(schedule)], dtype=np.float64)[:64]
    assert abs(np.corrcoef(held, np.arange(64))[0, 1]) < 0.4


def test_the_seed_alone_decides() -> None:
    lengths = realistic_lengths(2_000, seed=5)
    first, again, other = (
        steps_of_packs(lengths, capacity=1024, batch=4, seed=seed) for seed in (1, 1, 2)
    )
    assert first.order.tolist() == again.order.tolist()
    assert first.order.tolist() != other.order.tolist()


@pytest.mark.parametrize(("count", "left_out"), [(7, 0), (6, 0), (5, 1)])
def test_half_a_last_step_is_kept_and_less_is_left_out(count: int, left_out: int) -> None:
    full = np.full(count, CAPACITY, dtype=np.int64)
    for schedule in (
        steps_of_conversations(full, capacity=CAPACITY, batch=4),
        steps_of_packs(full, capacity=CAPACITY, batch=4, seed=0),
    ):
        assert len(schedule.left_out) == left_out
        assert len(schedule.order) == count - left_out


@given(st.lists(streams, max_size=4))
def test_one_step_never_mixes_parts(parts: list[Ints]) -> None:
    schedule = one_step(parts, capacity=CAPACITY)
    lengths = np.concatenate([*parts, np.zeros(0, dtype=np.int64)])
    check(schedule, lengths, CAPACITY)
    assert len(schedule.step_offsets) == 2
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    assert all(len(set(owner[pack].tolist())) == 1 for pack in packs(schedule))
