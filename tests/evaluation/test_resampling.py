"""Standard errors, intervals and tests against closed forms and against scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import permutation_test

from minilingua.core.seeding import generator
from minilingua.evaluation.resampling import (
    bootstrap,
    difference_interval,
    intervals,
    paired_test,
    ratio,
)


def test_ratio_weights_tokens_and_takes_clusters_as_draws() -> None:
    totals, weights = np.array([2.0, 9.0, 1.0]), np.array([1.0, 4.0, 1.0])
    value, stderr = ratio(totals, weights)
    assert value == pytest.approx(2.0)
    # Residuals 0, 1, -1 over 6 tokens.
    assert stderr == pytest.approx(math.sqrt(3 / 2 * 2) / 6)
    assert ratio(np.array([3.0]), np.array([2.0])) == (1.5, None)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=30))
def test_equal_weights_give_the_usual_standard_error_of_a_mean(values: list[float]) -> None:
    totals = np.array(values)
    _, stderr = ratio(totals, np.ones(len(values)))
    assert stderr == pytest.approx(totals.std(ddof=1) / math.sqrt(len(values)), abs=1e-9)


def test_as_many_are_drawn_of_each_stratum_as_it_has() -> None:
    strata = [0, 0, 0, 1, 2, 2]
    counts = bootstrap(strata, 50, generator(1, "test"))
    assert counts.shape == (50, 6)
    for stratum, size in ((0, 3), (1, 1), (2, 2)):
        members = [index for index, number in enumerate(strata) if number == stratum]
        assert (counts[:, members].sum(axis=1) == size).all()
    assert (bootstrap(strata, 50, generator(1, "test")) == counts).all()


def test_the_interval_of_a_share_is_that_of_the_normal_approximation() -> None:
    rng = generator(3, "test")
    hits = (rng.random(400) < 0.3).astype(float)
    counts = bootstrap([0] * 400, 4000, rng)
    low, high = intervals(counts, hits[:, None], np.ones((400, 1)))[:, 0]
    value, stderr = ratio(hits, np.ones(400))
    assert stderr is not None
    assert low == pytest.approx(value - 1.96 * stderr, abs=0.004)
    assert high == pytest.approx(value + 1.96 * stderr, abs=0.004)


def test_draws_without_weight_are_left_out() -> None:
    counts = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    ends = intervals(counts, np.array([[1.0], [9.0]]), np.array([[1.0], [0.0]]))
    assert np.isfinite(ends).all()  # the third draw had nothing to divide by
    assert np.isnan(intervals(counts, np.zeros((2, 1)), np.zeros((2, 1)))).all()


def test_the_paired_test_agrees_with_scipy() -> None:
    rng = generator(5, "test")
    left = (rng.random(60) < 0.4).astype(float)
    right = np.where(rng.random(60) < 0.25, 1.0, left)
    ones = np.ones(60)
    ours = paired_test((left, ones), (right, ones), 20_000, generator(6, "test"))
    theirs = permutation_test(
        (right - left,), np.mean, permutation_type="samples", n_resamples=20_000,
        rng=generator(7, "test"),
    ).pvalue  # fmt: skip
    assert 0.0005 < ours < 0.2
    assert ours == pytest.approx(theirs, rel=0.2, abs=0.002)


def test_equal_sides_differ_by_nothing() -> None:
    side = (np.array([1.0, 0.0, 3.0]), np.array([1.0, 1.0, 3.0]))
    assert paired_test(side, side, 200, generator(1, "test")) == 1.0
    counts = bootstrap([0, 0, 0], 100, generator(1, "test"))
    assert difference_interval(counts, side, side) == (0.0, 0.0)


def test_exchanges_are_paired_also_where_weights_differ() -> None:
    """Two tokenizers: one side has twice the tokens of every text, at half the loss each."""
    rng = generator(2, "test")
    weights = rng.integers(1, 9, size=40).astype(float)
    totals = weights * 2.0
    assert paired_test((totals, weights), (totals, weights * 2), 500, rng) < 0.01
    shuffled = rng.permutation(totals / weights) * weights
    assert paired_test((totals, weights), (shuffled, weights), 500, rng) == 1.0


def test_a_null_hypothesis_that_holds_is_rejected_as_often_as_stated() -> None:
    rejected = 0
    ones = np.ones(30)
    for number in range(200):
        rng = generator(number, "null")
        sides = [(rng.random(30) < 0.5).astype(float) for _ in range(2)]
        p = paired_test((sides[0], ones), (sides[1], ones), 199, rng)
        rejected += p <= 0.05
    assert rejected <= 20  # 10 expected; 20 or fewer in all but one of 1,000 such experiments


def test_an_exchange_that_leaves_a_side_without_weight_is_no_draw() -> None:
    left = (np.array([1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]))
    right = (np.array([0.0, 0.0, 0.0]), np.array([0.0, 1.0, 1.0]))
    # Of 8 exchanges 6 leave both sides a weight. With [1 | 0 0] and [0 0 | 1] the difference is 1,
    # with [1 0 | 0], in both orders and twice, 1/2.
    p = paired_test(left, right, 4000, generator(1, "test"))
    assert p == pytest.approx(2 / 6, abs=0.03)
