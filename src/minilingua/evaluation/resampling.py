"""How sure a figure is: cluster bootstrap, its standard error, and a paired randomization test.

A figure is a ratio of sums over clusters c, total_c / weight_c. A cluster is a fact in all the
wordings, languages and formats that ask it, or, where no fact is told, a question or conversation:
forms of one question are answered alike, and counting them as independent would promise more than
the data holds (Miller, "Adding Error Bars to Evals", 2024).

    standard error   delta method: residuals e_c = total_c - ratio * weight_c,
                     sqrt(k / (k - 1) * sum e_c^2) / sum weight_c over k clusters
    interval         percentiles of ratios over clusters drawn with replacement, within each stratum
                     (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13)
    paired test      the two sides' results of a random half of the clusters are exchanged; p is the
                     share of exchanges whose difference is at least as large (Noreen,
                     "Computer-Intensive Methods for Testing Hypotheses", 1989)

Shape legend: k clusters, g figures, b resamples.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_AT_ONCE = 1 << 24
"""Elements of the largest matrix of draws."""
INTERVAL = (2.5, 97.5)
"""Percentiles."""


def ratio(totals: Floats, weights: Floats) -> tuple[float, float | None]:
    """Returns the ratio [k] and [k] and its standard error, None for one cluster."""
    weight = float(weights.sum())
    value = float(totals.sum()) / weight
    count = len(totals)
    if count < 2:
        return value, None
    residuals = totals - value * weights
    return value, math.sqrt(count / (count - 1) * float((residuals**2).sum())) / weight


def bootstrap(strata: Sequence[int], resamples: int, rng: np.random.Generator) -> Floats:
    """Returns how often each cluster is drawn, [b, k].

    Args:
        strata: [k] stratum of each cluster; as many are drawn of each as it has.
        resamples: b.
        rng: source of the draws.
    """
    numbers = np.asarray(strata)
    counts = np.zeros((resamples, len(numbers)))
    for stratum in np.unique(numbers):
        members = np.flatnonzero(numbers == stratum)
        share = np.full(len(members), 1 / len(members))
        counts[:, members] = rng.multinomial(len(members), share, size=resamples)
    return counts


def intervals(counts: Floats, totals: Floats, weights: Floats) -> Floats:
    """Returns the ends [2, g] of the interval of each figure; NaN where nothing was drawn.

    Args:
        counts: [b, k] from ``bootstrap``.
        totals: [k, g].
        weights: [k, g].
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = (counts @ totals) / (counts @ weights)  # [b, g]
    return _percentiles(ratios)


def difference_interval(
    counts: Floats, left: tuple[Floats, Floats], right: tuple[Floats, Floats]
) -> tuple[float, float]:
    """Returns the interval of right - left, the same clusters being drawn for both.

    Args:
        counts: [b, k] from ``bootstrap``.
        left: totals [k] and weights [k] of one side.
        right: those of the other.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = [(counts @ totals) / (counts @ weights) for totals, weights in (left, right)]
    low, high = _percentiles((ratios[1] - ratios[0])[:, None])[:, 0]
    return float(low), float(high)


def paired_test(
    left: tuple[Floats, Floats],
    right: tuple[Floats, Floats],
    resamples: int,
    rng: np.random.Generator,
) -> float:
    """Returns the two-sided p-value of the difference of two ratios over the same clusters.

    Args:
        left: totals [k] and weights [k] of one side.
        right: those of the other.
        resamples: number of random exchanges; p is never below 1 / (resamples + 1).
        rng: source of the exchanges.
    """
    k = len(left[0])
    sums = [part.sum() for part in (*left, *right)]
    observed = abs(sums[2] / sums[3] - sums[0] / sums[1])
    # Exchanging a cluster moves these from one side to the other.
    moves = np.stack([right[0] - left[0], right[1] - left[1]], axis=1)  # [k, 2]
    extreme = undefined = done = 0
    while done < resamples:
        batch = min(resamples - done, max(1, _AT_ONCE // k))
        exchanged = rng.integers(0, 2, size=(batch, k), dtype=np.int8).astype(np.float64) @ moves
        with np.errstate(invalid="ignore", divide="ignore"):
            one = (sums[0] + exchanged[:, 0]) / (sums[1] + exchanged[:, 1])
            other = (sums[2] - exchanged[:, 0]) / (sums[3] - exchanged[:, 1])
        # An exchange that leaves a side without any weight has no difference, and says nothing.
        undefined += int((~np.isfinite(other - one)).sum())
        # Rounding must not make an exchange of equals less extreme than what was observed.
        extreme += int((np.abs(other - one) >= observed - 1e-12).sum())
        done += batch
    return (1 + extreme) / (1 + resamples - undefined)


def _percentiles(ratios: Floats) -> Floats:
    """[b, g] ─► [2, g], without the draws in which a figure had no weight."""
    ends = np.full((2, ratios.shape[1]), np.nan)
    whole = np.isfinite(ratios).all(axis=0)
    if whole.any():
        ends[:, whole] = np.percentile(ratios[:, whole], INTERVAL, axis=0)
    for column in np.flatnonzero(~whole):
        found = ratios[np.isfinite(ratios[:, column]), column]
        if len(found):
            ends[:, column] = np.percentile(found, INTERVAL)
    return ends
