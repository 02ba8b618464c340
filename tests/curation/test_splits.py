from collections import Counter

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.errors import ParamsError
from minilingua.core.records import SPLITS
from minilingua.core.seeding import unit_hash
from minilingua.curation.splits import (
    TEST,
    TRAIN,
    VALIDATION,
    SplitRule,
    Splits,
    fill_test,
    place_of,
)

RULE = SplitRule(validation=0.1, test=0.1, unseen_facts=0.2, minimum_test_mcqa=0)
KEYS = st.lists(st.integers(0, 300), max_size=150)


def places(keys: list[str]) -> npt.NDArray[np.uint64]:
    return np.array([place_of(key) for key in keys], dtype=np.uint64)


def split_names(keys: list[str], rule: SplitRule = RULE, *, held_out: bool = False) -> list[str]:
    found = rule.by_place(places(keys), np.full(len(keys), held_out))
    return [SPLITS[split] for split in found]


def asked(numbers: list[int]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_], Splits]:
    """Rows whose key says whether it is asked as a multiple-choice question."""
    keys = places([f"key {number}" for number in numbers])
    is_question = np.array([number % 3 > 0 for number in numbers], dtype=np.bool_)
    return keys, is_question, RULE.by_place(keys, np.zeros(len(keys), dtype=np.bool_))


@settings(max_examples=60)
@given(KEYS, KEYS)
def test_a_row_is_where_its_key_says_whatever_stands_beside_it(
    numbers: list[int], more: list[int]
) -> None:
    keys = [f"key {number}" for number in numbers]
    beside = [f"key {number}" for number in more]
    assert split_names(keys + beside)[: len(keys)] == split_names(keys)
    assert split_names(beside + keys)[len(beside) :] == split_names(keys)


@given(st.text())
def test_the_place_is_the_unit_hash(key: str) -> None:
    place = np.uint64(place_of(key))
    assert float(place) / 2**64 == unit_hash(key, "split")
    share = unit_hash(key, "split")
    expected = "test" if share < 0.1 else "validation" if share < 0.2 else "train"
    assert split_names([key]) == [expected]


@settings(max_examples=60)
@given(numbers=KEYS, minimum=st.integers(0, 60), data=st.data())
def test_the_minimum_is_reached_where_there_are_twice_as_many(
    numbers: list[int], minimum: int, data: st.DataObject
) -> None:
    keys, is_question, before = asked(numbers)
    after = fill_test(before, keys, is_question, minimum)
    order = np.array(data.draw(st.permutations(range(len(numbers)))), dtype=np.int64)
    shuffled = fill_test(before[order], keys[order], is_question[order], minimum)
    assert (shuffled == after[order]).all()
    questions = set(keys[is_question].tolist())
    in_test = set(keys[is_question & (after == TEST)].tolist())
    moved = set(keys[before != after].tolist())
    if len(questions) < 2 * minimum:
        assert not moved
    else:
        assert len(in_test) >= minimum or not (is_question & (after == TRAIN)).any()
    if moved:
        assert len(in_test) <= minimum
        assert moved <= questions
        stayed = set(keys[is_question & (after == TRAIN)].tolist())
        assert not stayed or max(moved) < min(stayed), "the lowest hashes move"
    assert (before[before != after] == TRAIN).all()
    assert (after[before != after] == TEST).all()


@pytest.mark.parametrize("minimum", range(0, 70, 3))
def test_validation_keeps_its_questions_and_half_of_all_stay_out_of_test(minimum: int) -> None:
    keys, is_question, before = asked(list(range(180)))
    after = fill_test(before, keys, is_question, minimum)
    in_test = int((is_question & (after == TEST)).sum())
    assert is_question.sum() == 120
    assert in_test == max(minimum if minimum <= 60 else 0, (is_question & (before == TEST)).sum())
    assert ((after == VALIDATION) == (before == VALIDATION)).all()


def test_shares_are_met_by_many_rows() -> None:
    keys = [f"key {number}" for number in range(20000)]
    counts = Counter(split_names(keys))
    assert counts["test"] == pytest.approx(2000, abs=200)
    assert counts["validation"] == pytest.approx(2000, abs=200)
    unseen = Counter(split_names(keys, held_out=True))
    assert unseen["train"] == 0
    assert unseen["test"] == pytest.approx(10000, abs=400)
    facts = sum(RULE.holds_out(f"fact {number}") for number in range(20000))
    assert facts == pytest.approx(4000, abs=250)
    large = Counter(
        split_names(
            keys, SplitRule(validation=0.02, test=0.01, unseen_facts=0, minimum_test_mcqa=0)
        )
    )
    assert large["validation"] == pytest.approx(400, abs=80)
    assert large["test"] == pytest.approx(200, abs=60)


def test_the_hash_decides_the_same_on_every_machine() -> None:
    """Frozen: another hash would silently move the test set of every published model."""
    splits = dict(enumerate(split_names([f"key {number}" for number in range(20)])))
    assert [number for number, split in splits.items() if split == "test"] == [14, 18]
    assert [number for number, split in splits.items() if split == "validation"] == [1, 12, 13]
    held = [number for number in range(20) if RULE.holds_out(f"fact {number}")]
    assert held == [2, 3, 6, 12, 14, 17]


@pytest.mark.parametrize(("validation", "test", "only"), [(0.1, 0, "validation"), (0, 0.1, "test")])
def test_held_out_facts_go_to_the_split_that_exists(
    validation: float, test: float, only: str
) -> None:
    rule = SplitRule(validation=validation, test=test, unseen_facts=1, minimum_test_mcqa=0)
    keys = [f"key {number}" for number in range(200)]
    assert set(split_names(keys, rule, held_out=True)) == {only}


def test_nowhere_to_hold_facts_out_is_an_error() -> None:
    with pytest.raises(ParamsError, match="no split for them"):
        SplitRule(validation=0, test=0, unseen_facts=0.1, minimum_test_mcqa=0)
