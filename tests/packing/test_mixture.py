from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.errors import ParamsError
from minilingua.packing.corpus import LanguageCorpus
from minilingua.packing.mixture import interleave, largest_remainders, orders, planned_shares
from minilingua.params import MixtureParams


def part(language: str, lengths: list[int], too_long: int = 0) -> LanguageCorpus:
    return LanguageCorpus(
        language=language,
        rows=np.arange(len(lengths)),
        lengths=np.array(lengths, dtype=np.int64),
        supervised=np.array([max(1, length // 3) for length in lengths], dtype=np.int64),
        dropped_too_long=too_long,
        digest="",
        tokenizer_digest="",
    )


def mixture(unit: str, weights: dict[str, float] | None) -> MixtureParams:
    return MixtureParams.model_validate({"name": "m", "unit": unit, "weights": weights})


corpora = st.tuples(
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
    st.lists(st.integers(1, 50), min_size=1, max_size=30),
    st.lists(st.integers(1, 50), max_size=30),
).map(lambda sizes: [part(*item) for item in zip(("en", "fi", "code"), sizes, strict=True)])
weights_strategy = st.fixed_dictionaries({"en": st.floats(0.01, 5), "fi": st.floats(0.01, 5)})
epochs_strategy = st.sampled_from([0.25, 0.5, 1.0, 1.5, 3.0])


@given(corpora, st.integers(1, 4))
def test_without_weights_every_conversation_is_seen_once_an_epoch(
    corpus: list[LanguageCorpus], epochs: int
) -> None:
    seen = orders(corpus, mixture("tokens", None), epochs=epochs, seed=3)
    for item in corpus:
        for epoch in range(epochs):
            once = seen[item.language][epoch * len(item) : (epoch + 1) * len(item)]
            assert sorted(once.tolist()) == list(range(len(item)))


@given(corpora, weights_strategy, epochs_strategy)
def test_conversation_counts_are_exact(
    corpus: list[LanguageCorpus], weights: dict[str, float], epochs: float
) -> None:
    counts = {
        language: len(order)
        for language, order in orders(
            corpus, mixture("conversations", weights), epochs=epochs, seed=3
        ).items()
    }
    mixed = sum(len(item) for item in corpus if item.language in weights)
    total = sum(counts.values())
    assert abs(total - epochs * mixed) <= 0.5
    assert counts["code"] == 0
    for language, weight in weights.items():
        assert abs(counts[language] - total * weight / sum(weights.values())) < 1


@pytest.mark.parametrize("unit", ["tokens", "supervised_tokens"])
@given(corpora, weights_strategy, epochs_strategy)
def test_token_shares_are_met_to_half_a_conversation(
    unit: str, corpus: list[LanguageCorpus], weights: dict[str, float], epochs: float
) -> None:
    def amounts(item: LanguageCorpus) -> np.ndarray:
        return item.lengths if unit == "tokens" else item.supervised

    seen = orders(corpus, mixture(unit, weights), epochs=epochs, seed=3)
    mixed = sum(int(amounts(item).sum()) for item in corpus if item.language in weights)
    for item in corpus[:2]:
        target = epochs * mixed * weights[item.language] / sum(weights.values())
        realised = int(amounts(item)[seen[item.language]].sum())
        assert abs(realised - target) <= amounts(item).max() / 2 + 1e-6 * target


@given(corpora, weights_strategy)
def test_no_conversation_is_two_rounds_ahead_of_another(
    corpus: list[LanguageCorpus], weights: dict[str, float]
) -> None:
    seen = orders(corpus, mixture("tokens", weights), epochs=2.5, seed=3)
    for item in corpus:
        times = Counter(dict.fromkeys(range(len(item)), 0))
        times.update(seen[item.language].tolist())
        assert not times or max(times.values()) - min(times.values()) <= 1


def test_epochs_are_reshuffled_and_depend_on_the_seed_alone() -> None:
    corpus = [part("en", [5] * 50)]
    first = orders(corpus, mixture("tokens", None), epochs=2, seed=3)["en"]
    again = orders(corpus, mixture("tokens", None), epochs=2, seed=3)["en"]
    other = orders(corpus, mixture("tokens", None), epochs=2, seed=4)["en"]
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert first[:50].tolist() != first[50:].tolist()


def test_shares_are_normalised() -> None:
    corpus = [part("en", [1]), part("fi", [1]), part("code", [1])]
    weights = {"en": 0.75, "fi": 0.75}
    assert planned_shares(corpus, mixture("tokens", weights)) == {"en": 0.5, "fi": 0.5, "code": 0}


def test_shares_without_weights_are_those_of_the_data_in_the_unit() -> None:
    corpus = [part("en", [30]), part("fi", [3, 3, 4])]
    assert planned_shares(corpus, mixture("conversations", None)) == {"en": 0.25, "fi": 0.75}
    assert planned_shares(corpus, mixture("tokens", None)) == {"en": 0.75, "fi": 0.25}


@pytest.mark.parametrize(
    ("too_long", "reason"),
    [
        (0, "data/tokens/train has no conversation of it"),
        (4, "none of its 4 conversations in data/tokens/train fits into pack.sequence_length"),
    ],
)
def test_a_weight_without_data_names_the_language(too_long: int, reason: str) -> None:
    corpus = [part("en", [1]), part("fi", [], too_long)]
    with pytest.raises(ParamsError) as caught:
        planned_shares(corpus, mixture("tokens", {"en": 1.0, "fi": 1.0}))
    assert str(caught.value) == f"params.yaml: mixture.weights: 'fi': {reason}"


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=14), st.integers(0, 10_000))
def test_largest_remainders_sum_up_and_stay_within_one(weights: list[float], total: int) -> None:
    shares = {str(place): weight / sum(weights) for place, weight in enumerate(weights)}
    counts = largest_remainders(total, shares)
    assert sum(counts.values()) == total
    assert all(abs(counts[name] - share * total) < 1 for name, share in shares.items())


@given(st.lists(st.integers(0, 40), max_size=6), st.integers(0, 99))
def test_interleaving_loses_nothing_and_keeps_each_order(lengths: list[int], seed: int) -> None:
    sequence, element = interleave(lengths, seed)
    for number, length in enumerate(lengths):
        assert element[sequence == number].tolist() == list(range(length))
    assert len(sequence) == sum(lengths)


def test_every_stretch_of_the_run_holds_about_the_shares_of_the_whole() -> None:
    lengths = [4000, 1000, 200]
    sequence, _ = interleave(lengths, seed=1)
    for begin in range(0, 5200, 260):
        window = np.bincount(sequence[begin : begin + 260], minlength=3)
        assert np.abs(window - [200, 50, 10]).max() <= 4
