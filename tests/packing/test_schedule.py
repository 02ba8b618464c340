from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.packing.corpus import Ints
from minilingua.packing.schedule import Step, one_step, steps_of_conversations, steps_of_packs
from minilingua.packing.stream import CONVERSATION, Conversations
from tests.packing.conftest import realistic_lengths

CAPACITY = 30
streams = st.lists(st.integers(1, CAPACITY), max_size=400).map(
    lambda lengths: np.array(lengths, dtype=np.int64)
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """All steps; conversations are named by their places in the stream."""

    packs: list[list[int]]
    packs_of_steps: list[int]
    left_out: list[int]

    @property
    def order(self) -> list[int]:
        return [place for pack in self.packs for place in pack]


def stream(lengths: Ints, block: int = 50, first: int = 0) -> Iterator[Conversations]:
    """Conversations whose references are their places."""
    whole = np.zeros(len(lengths), dtype=CONVERSATION)
    whole["ref"] = np.arange(first, first + len(lengths))
    whole["length"] = lengths
    return (whole[begin : begin + block] for begin in range(0, len(lengths), block))


def gathered(steps: Iterable[Step]) -> Schedule:
    packs: list[list[int]] = []
    packs_of_steps: list[int] = []
    left_out: list[int] = []
    for step in steps:
        assert not left_out, "only the last step is left out"
        found = [pack["ref"].tolist() for pack in step.packs]
        if step.is_left_out:
            left_out = [place for pack in found for place in pack]
            continue
        packs += found
        packs_of_steps.append(len(found))
    return Schedule(packs, packs_of_steps, left_out)


def check(schedule: Schedule, lengths: Ints, capacity: int) -> None:
    """Nothing lost, doubled or split, nothing too full."""
    assert sorted(schedule.order + schedule.left_out) == list(range(len(lengths)))
    assert all(0 < lengths[pack].sum() <= capacity for pack in schedule.packs)


@given(streams, st.integers(1, 30), st.integers(1, 60))
def test_steps_hold_exactly_their_conversations_in_the_order_of_the_stream(
    lengths: Ints, batch: int, block: int
) -> None:
    schedule = gathered(
        steps_of_conversations(stream(lengths, block), capacity=CAPACITY, batch=batch)
    )
    check(schedule, lengths, CAPACITY)
    assert 2 * len(schedule.left_out) < batch
    steps = list(pairwise(accumulate(schedule.packs_of_steps, initial=0)))
    for step, (begin, end) in enumerate(steps):
        members = sorted(place for pack in schedule.packs[begin:end] for place in pack)
        assert members == list(range(step * batch, step * batch + len(members)))
        assert len(members) == batch or (step == len(steps) - 1 and 2 * len(members) >= batch)


@given(streams, st.integers(1, 90), st.integers(0, 9))
def test_steps_hold_exactly_their_packs(lengths: Ints, batch: int, seed: int) -> None:
    schedule = gathered(steps_of_packs(stream(lengths), capacity=CAPACITY, batch=batch, seed=seed))
    check(schedule, lengths, CAPACITY)
    held = schedule.packs_of_steps
    assert all(packs == batch for packs in held[:-1])
    assert not held or 2 * held[-1] >= batch


def test_a_pack_that_stayed_open_is_not_packed_again_after_a_window_of_full_ones() -> None:
    lengths = np.array([CAPACITY - 1] + [CAPACITY] * 200, dtype=np.int64)
    schedule = gathered(steps_of_packs(stream(lengths), capacity=CAPACITY, batch=1, seed=1))
    check(schedule, lengths, CAPACITY)


@given(streams, st.integers(1, 9), st.integers(1, 400), st.integers(1, 400))
def test_the_blocks_of_the_stream_do_not_matter(
    lengths: Ints, batch: int, first: int, second: int
) -> None:
    one, other = (
        [
            gathered(steps_of_conversations(stream(lengths, block), capacity=30, batch=batch)),
            gathered(steps_of_packs(stream(lengths, block), capacity=30, batch=batch, seed=1)),
        ]
        for block in (first, second)
    )
    assert one == other


@pytest.mark.parametrize("batch", [1, 4, 256])
@pytest.mark.parametrize("capacity", [1024, 2048])
def test_packs_are_filled_to_99_percent(batch: int, capacity: int) -> None:
    lengths = realistic_lengths(12_000, seed=batch)
    schedule = gathered(steps_of_packs(stream(lengths), capacity=capacity, batch=batch, seed=1))
    check(schedule, lengths, capacity)
    tokens = int(lengths[schedule.order].sum())
    assert tokens / (capacity * len(schedule.packs)) >= 0.99


def test_the_stream_is_kept_but_for_a_window() -> None:
    lengths = realistic_lengths(20_000, seed=5)
    schedule = gathered(steps_of_packs(stream(lengths), capacity=1024, batch=4, seed=1))
    window = 2 * 64 * 1024 / lengths.mean()
    assert np.abs(np.array(schedule.order) - np.arange(len(schedule.order))).max() < window


def test_packs_of_a_step_are_not_sorted_by_length() -> None:
    lengths = realistic_lengths(12_000, seed=5)
    schedule = gathered(steps_of_packs(stream(lengths), capacity=1024, batch=4, seed=1))
    held = np.array([len(pack) for pack in schedule.packs], dtype=np.float64)[:64]
    assert abs(np.corrcoef(held, np.arange(64))[0, 1]) < 0.4


def test_the_seed_alone_decides() -> None:
    lengths = realistic_lengths(2_000, seed=5)
    first, again, other = (
        gathered(steps_of_packs(stream(lengths), capacity=1024, batch=4, seed=seed))
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first.order != other.order


@pytest.mark.parametrize(("count", "left_out"), [(7, 0), (6, 0), (5, 1)])
def test_half_a_last_step_is_kept_and_less_is_left_out(count: int, left_out: int) -> None:
    full = np.full(count, CAPACITY, dtype=np.int64)
    for steps in (
        steps_of_conversations(stream(full), capacity=CAPACITY, batch=4),
        steps_of_packs(stream(full), capacity=CAPACITY, batch=4, seed=0),
    ):
        schedule = gathered(steps)
        assert len(schedule.left_out) == left_out
        assert len(schedule.order) == count - left_out


@given(st.lists(streams, max_size=4))
def test_one_step_never_mixes_blocks(parts: list[Ints]) -> None:
    begins = accumulate(map(len, parts), initial=0)
    blocks = (
        block
        for part, begin in zip(parts, begins, strict=False)
        for block in stream(part, max(1, len(part)), begin)
    )
    schedule = gathered(one_step(blocks, capacity=CAPACITY))
    check(schedule, np.concatenate([*parts, np.zeros(0, dtype=np.int64)]), CAPACITY)
    assert schedule.packs_of_steps == [len(schedule.packs)]
    owner = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    assert all(len(set(owner[pack].tolist())) == 1 for pack in schedule.packs)
