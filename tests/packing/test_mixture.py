import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minilingua.packing.mixture as mixture_module
from minilingua.packing.corpus import LanguageCorpus
from minilingua.packing.mixture import (
    Order,
    epoch_limit,
    fill,
    interleave,
    largest_remainders,
    plan_counts,
)
from minilingua.packing.parts import Part, divide
from minilingua.params import MixtureParams
from tests.packing.conftest import mixture
from tests.packing.test_parts import part

corpora = st.tuples(
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
    st.lists(st.integers(1, 50), max_size=30),
).map(lambda sizes: [part(*item) for item in zip(("en", "fi", "code"), sizes, strict=True)])
weights_strategy = st.fixed_dictionaries({"en": st.floats(0.01, 5), "fi": st.floats(0.01, 5)})
epochs_strategy = st.sampled_from([0.25, 0.5, 1.0, 1.5, 3.0])
UNITS = ["conversations", "tokens", "supervised_tokens"]


def orders(
    corpus: list[LanguageCorpus], asked: MixtureParams, epochs: float, seed: int = 3
) -> dict[str, np.ndarray]:
    """Language ─► what is seen of it, in order."""
    parts = divide(corpus, asked)
    counts = plan_counts(parts, asked, epochs=epochs, seed=seed)
    seen: dict[str, list[np.ndarray]] = {item.language: [] for item in corpus}
    for item, count in zip(parts, counts, strict=True):
        seen[item.language].append(Order(item, seed).take(count))
    return {
        language: np.concatenate([*found, np.zeros(0, dtype=np.int64)])
        for language, found in seen.items()
    }


def amounts(item: LanguageCorpus, unit: str) -> np.ndarray:
    counted = {"tokens": item.lengths, "supervised_tokens": item.supervised}
    return counted.get(unit, np.ones(len(item), dtype=np.int64))


@settings(deadline=None)
@given(corpora, st.integers(1, 4))
def test_without_weights_every_conversation_is_seen_once_an_epoch(
    corpus: list[LanguageCorpus], epochs: int
) -> None:
    seen = orders(corpus, mixture("tokens", None), epochs)
    for item in corpus:
        for epoch in range(epochs):
            once = seen[item.language][epoch * len(item) : (epoch + 1) * len(item)]
            assert sorted(once.tolist()) == list(range(len(item)))


@settings(deadline=None)
@given(corpora, weights_strategy, epochs_strategy)
def test_conversation_counts_are_exact(
    corpus: list[LanguageCorpus], weights: dict[str, float], epochs: float
) -> None:
    seen = orders(corpus, mixture("conversations", weights), epochs)
    counts = {language: len(found) for language, found in seen.items()}
    mixed = sum(len(item) for item in corpus if item.language in weights)
    total = sum(counts.values())
    assert abs(total - epochs * mixed) <= 0.5
    assert counts["code"] == 0
    for language, weight in weights.items():
        assert abs(counts[language] - total * weight / sum(weights.values())) < 1


@pytest.mark.parametrize("unit", ["tokens", "supervised_tokens"])
@settings(deadline=None)
@given(corpora, weights_strategy, epochs_strategy)
def test_token_shares_are_met_to_half_a_conversation(
    unit: str, corpus: list[LanguageCorpus], weights: dict[str, float], epochs: float
) -> None:
    seen = orders(corpus, mixture(unit, weights), epochs)
    mixed = sum(int(amounts(item, unit).sum()) for item in corpus if item.language in weights)
    for item in corpus[:2]:
        target = epochs * mixed * weights[item.language] / sum(weights.values())
        realised = int(amounts(item, unit)[seen[item.language]].sum())
        assert abs(realised - target) <= amounts(item, unit).max() / 2 + 1e-6 * target


@settings(deadline=None)
@given(corpora, weights_strategy)
def test_no_conversation_is_two_rounds_ahead_of_another(
    corpus: list[LanguageCorpus], weights: dict[str, float]
) -> None:
    seen = orders(corpus, mixture("tokens", weights), 2.5)
    for item in corpus:
        times = Counter(dict.fromkeys(range(len(item)), 0))
        times.update(seen[item.language].tolist())
        assert not times or max(times.values()) - min(times.values()) <= 1


@pytest.mark.parametrize("unit", UNITS)
@settings(deadline=None)
@given(
    corpus=corpora,
    weights=st.none() | weights_strategy,
    sources=st.none() | st.fixed_dictionaries({"aya": st.floats(0.01, 5)}),
    epochs=epochs_strategy,
    max_epochs=st.sampled_from([0.3, 1.0, 1.25, 2.0]),
)
def test_no_conversation_is_seen_more_often_than_max_epochs(
    unit: str,
    corpus: list[LanguageCorpus],
    weights: dict[str, float] | None,
    sources: dict[str, float] | None,
    epochs: float,
    max_epochs: float,
) -> None:
    asked = mixture(unit, weights, sources, max_epochs)
    parts = divide(corpus, asked)
    counts = plan_counts(parts, asked, epochs=epochs, seed=3)
    unlimited = mixture(unit, weights, sources)
    wanted = plan_counts(parts, unlimited, epochs=epochs, seed=3)
    for item, count, without in zip(parts, counts, wanted, strict=True):
        assert count <= max_epochs * len(item) + 1e-9
        # What one has to give up the others get: none of them has less than without a limit.
        if unit == "conversations" and count < epoch_limit(item, asked):
            assert count >= without - 1
    if epochs <= max_epochs and weights is None and sources is None:
        limits = [epoch_limit(item, asked) for item in parts]
        assert counts == [min(a, limit) for a, limit in zip(wanted, limits, strict=True)]


@settings(deadline=None)
@given(
    shares=st.lists(st.floats(0.01, 1), min_size=1, max_size=8),
    caps=st.lists(st.floats(0, 100), min_size=8, max_size=8),
    total=st.floats(0, 400),
)
def test_filling_respects_caps_and_proportions(
    shares: list[float], caps: list[float], total: float
) -> None:
    names = range(len(shares))
    limits = dict(zip(names, caps, strict=False))
    filled = fill(total, dict(enumerate(shares)), limits)
    assert sum(filled.values()) == pytest.approx(min(total, sum(limits.values())), abs=1e-6)
    assert all(filled[name] <= limits[name] + 1e-9 for name in names)
    growing = [name for name in names if filled[name] < limits[name] - 1e-6]
    levels = [filled[name] / shares[name] for name in growing]
    assert not levels or max(levels) == pytest.approx(min(levels), rel=1e-6, abs=1e-6)
    for name in set(names) - set(growing):  # a full one would have got at least as much
        assert not levels or limits[name] / shares[name] <= levels[0] * (1 + 1e-6) + 1e-6


def test_a_full_source_gives_to_its_language_first() -> None:
    few, many = [10] * 4, [10] * 96
    corpus = [
        part("en", few + many, sources=["aya"] * 4 + ["alpaca"] * 96),
        part("fi", [10] * 100, sources=["alpaca"] * 100),
    ]
    asked = mixture("conversations", {"en": 1, "fi": 1}, {"aya": 1, "alpaca": 1}, 2)
    parts = divide(corpus, asked)
    counts = dict(
        zip(
            [(item.language, item.source) for item in parts],
            plan_counts(parts, asked, epochs=1, seed=3),
            strict=True,
        )
    )
    assert counts == {("en", "aya"): 8, ("en", "alpaca"): 92, ("fi", "alpaca"): 100}


def test_a_full_language_gives_to_the_others_in_proportion() -> None:
    corpus = [part("en", [10] * 10), part("fi", [10] * 300), part("code", [10] * 300)]
    asked = mixture("conversations", {"en": 2, "fi": 2, "code": 1}, None, 3)
    counts = plan_counts(divide(corpus, asked), asked, epochs=1, seed=3)
    assert counts == [30, 387, 193]  # 580 left over, two to one


def test_a_run_whose_languages_are_all_full_is_shorter() -> None:
    corpus = [part("en", [10] * 10), part("fi", [10] * 30)]
    for weights in (None, {"en": 1.0, "fi": 1.0}):
        asked = mixture("conversations", weights, None, 1)
        assert plan_counts(divide(corpus, asked), asked, epochs=7, seed=3) == [10, 30]


def test_epochs_are_reshuffled_and_depend_on_the_seed_alone() -> None:
    corpus = [part("en", [5] * 50)]
    first = orders(corpus, mixture("tokens", None), 2)["en"]
    again = orders(corpus, mixture("tokens", None), 2)["en"]
    other = orders(corpus, mixture("tokens", None), 2, seed=4)["en"]
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert first[:50].tolist() != first[50:].tolist()


@settings(deadline=None)
@given(st.lists(st.floats(0, 1000), min_size=1, max_size=14))
def test_largest_remainders_sum_up_and_stay_within_one(exact: list[float]) -> None:
    counts = largest_remainders(dict(enumerate(exact)))
    assert sum(counts.values()) == math.floor(sum(exact) + 0.5)
    assert all(abs(counts[name] - amount) < 1 + 1e-9 for name, amount in enumerate(exact))


@settings(deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=9), st.lists(st.integers(0, 30)))
def test_an_order_does_not_depend_on_how_it_is_taken(sizes: list[int], counts: list[int]) -> None:
    (item,) = divide([part("en", sizes)], mixture("tokens", None))
    order = Order(item, seed=3)
    taken = [order.take(count).tolist() for count in counts]
    whole = Order(item, seed=3).take(sum(counts)).tolist()
    assert [element for some in taken for element in some] == whole


def interleaved(lengths: list[int], seed: int) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=np.int64), *interleave(lengths, seed)])


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=6), st.integers(0, 99), st.integers(1, 60))
def test_interleaving_loses_nothing_whatever_its_blocks(
    lengths: list[int], seed: int, block: int
) -> None:
    whole = interleaved(lengths, seed)
    assert np.bincount(whole, minlength=len(lengths)).tolist() == lengths
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixture_module, "_BLOCK", block)
        assert interleaved(lengths, seed).tolist() == whole.tolist()


def test_every_stretch_of_the_run_holds_about_the_shares_of_the_whole() -> None:
    lengths = [4000, 1000, 200]
    sequence = interleaved(lengths, seed=1)
    for begin in range(0, 5200, 260):
        window = np.bincount(sequence[begin : begin + 260], minlength=3)
        assert np.abs(window - [200, 50, 10]).max() <= 4


@pytest.mark.parametrize(
    ("epochs", "seen"), [(0.5, [2, 1, 2]), (0.25, [1, 0, 1]), (1.5, [5, 2, 6])]
)
def test_parts_of_an_epoch_are_rounded_to_the_nearest_conversation(
    epochs: float, seen: list[int]
) -> None:
    parts = [
        Part(
            language=language,
            source=None,
            members=np.arange(count),
            amounts=np.ones(count, dtype=np.int64),
            share=0.0,
        )
        for language, count in (("en", 3), ("fi", 1), ("code", 4))
    ]
    assert plan_counts(parts, mixture("tokens", None), epochs=epochs, seed=3) == seen


def test_an_empty_part_is_never_seen() -> None:
    empty = Part(
        language="fi",
        source=None,
        members=np.zeros(0, dtype=np.int64),
        amounts=np.zeros(0, dtype=np.int64),
        share=0.0,
    )
    assert plan_counts([empty], mixture("tokens", {"en": 1.0}), epochs=1, seed=3) == [0]
    assert Order(empty, seed=3).take(0).tolist() == []
