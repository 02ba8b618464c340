import numpy as np
import pytest

from benchmarks.packers import PACKERS, compare, first_fit, next_fit

LENGTHS = np.array([6, 5, 4, 3, 2])


def test_packs_of_each_way_by_hand() -> None:
    assert next_fit(LENGTHS, 10) == 3  # 6 | 5 4 | 3 2
    assert first_fit(LENGTHS, 10) == 2  # 6 4 | 5 3 2


@pytest.mark.parametrize("name", PACKERS)
def test_never_fewer_packs_than_tokens_need(name: str) -> None:
    lengths = np.random.default_rng(1).integers(1, 2048, 300)
    assert PACKERS[name](lengths, 2048) >= lengths.sum() / 2048


def test_fill_is_that_of_the_packs() -> None:
    rows, fills = compare(LENGTHS, 10, 1)
    assert fills["next fit"] == round(20 / 30, 6)
    assert fills["first fit"] == 1
    assert [row.against.split(",")[0] for row in rows] == ["next fit", "first fit"]
