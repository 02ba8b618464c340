from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.errors import ParamsError
from minilingua.core.tokens import TextCounts
from minilingua.packing.corpus import LanguageCorpus
from minilingua.packing.parts import divide
from tests.packing.conftest import mixture


def part(
    language: str,
    lengths: Sequence[int],
    too_long: int = 0,
    sources: Sequence[str] | None = None,
) -> LanguageCorpus:
    """A language; without sources told, all of its conversations are of aya."""
    told = list(sources or ["aya"] * len(lengths))
    names = tuple(sorted({*told, *(["aya"] if too_long else [])}))
    return LanguageCorpus(
        language=language,
        rows=np.arange(len(lengths)),
        lengths=np.array(lengths, dtype=np.int64),
        supervised=np.array([max(1, length // 3) for length in lengths], dtype=np.int64),
        sources=np.array([names.index(name) for name in told], dtype=np.int64),
        source_names=names,
        too_long={"aya": too_long} if too_long else {},
        counts={name: TextCounts() for name in names},
        digest="",
        tokenizer_digest="",
    )


def shares(
    corpus: list[LanguageCorpus],
    unit: str,
    weights: dict[str, float] | None,
    sources: dict[str, float] | None = None,
) -> dict[tuple[str, str | None], float]:
    parts = divide(corpus, mixture(unit, weights, sources))
    return {(item.language, item.source): item.share for item in parts}


def test_shares_are_normalised() -> None:
    corpus = [part("en", [1]), part("fi", [1]), part("code", [1])]
    found = shares(corpus, "tokens", {"en": 0.75, "fi": 0.75})
    assert found == {("en", None): 0.5, ("fi", None): 0.5, ("code", None): 0}


def test_shares_without_weights_are_those_of_the_data_in_the_unit() -> None:
    corpus = [part("en", [30]), part("fi", [3, 3, 4])]
    assert shares(corpus, "conversations", None) == {("en", None): 0.25, ("fi", None): 0.75}
    assert shares(corpus, "tokens", None) == {("en", None): 0.75, ("fi", None): 0.25}
    assert shares(corpus, "supervised_tokens", None) == {
        ("en", None): 10 / 13,
        ("fi", None): 3 / 13,
    }


def test_sources_are_normalised_over_those_that_a_language_has() -> None:
    corpus = [
        part("en", [10, 10, 10], sources=["aya", "alpaca", "exams"]),
        part("fi", [10, 10], sources=["aya", "aya"]),
        part("code", [10], sources=["exams"]),
    ]
    found = shares(corpus, "tokens", {"en": 1, "fi": 3}, {"aya": 1, "alpaca": 4})
    assert found == {
        ("en", "alpaca"): pytest.approx(0.2),
        ("en", "aya"): pytest.approx(0.05),
        ("fi", "aya"): pytest.approx(0.75),
    }
    natural = shares(corpus, "tokens", None, {"aya": 1, "alpaca": 4})
    assert natural == {  # two weighted conversations in each language, exams left out
        ("en", "alpaca"): pytest.approx(0.4),
        ("en", "aya"): pytest.approx(0.1),
        ("fi", "aya"): pytest.approx(0.5),
    }


def test_a_source_whose_conversations_are_all_too_long_has_no_share() -> None:
    corpus = [part("en", [10], too_long=2, sources=["alpaca"]), part("fi", [10])]
    found = shares(corpus, "tokens", {"en": 1, "fi": 1}, {"aya": 1, "alpaca": 4})
    assert found == {("en", "alpaca"): 0.5, ("fi", "aya"): 0.5}


corpora = st.lists(
    st.lists(
        st.tuples(st.integers(1, 50), st.sampled_from(["aya", "alpaca", "exams"])), max_size=9
    ),
    min_size=3,
    max_size=3,
).map(
    lambda languages: [
        part(code, [size for size, _ in rows], sources=[name for _, name in rows])
        for code, rows in zip(("en", "fi", "code"), languages, strict=True)
    ]
)


@settings(deadline=None)
@given(
    corpus=corpora,
    unit=st.sampled_from(["conversations", "tokens", "supervised_tokens"]),
    weights=st.none() | st.dictionaries(
        st.sampled_from(["en", "fi", "code"]), st.floats(0.01, 9), min_size=1
    ),
    sources=st.none() | st.dictionaries(
        st.sampled_from(["aya", "alpaca", "exams"]), st.floats(0.01, 9), min_size=1
    ),
)  # fmt: skip
def test_shares_sum_to_one_or_the_weight_on_nothing_is_named(
    corpus: list[LanguageCorpus],
    unit: str,
    weights: dict[str, float] | None,
    sources: dict[str, float] | None,
) -> None:
    try:
        parts = divide(corpus, mixture(unit, weights, sources))
    except ParamsError as error:
        named = str(error).split("'")[1]
        if named in (weights or {}):
            (language,) = (item for item in corpus if item.language == named)
            own = {language.source_names[number] for number in language.sources}
            assert not own or (sources is not None and not own & set(sources))
        else:
            assert named in (sources or {})
            assert not any(
                named in item.source_names
                for item in corpus
                if weights is None or item.language in weights
            )
        return
    if sum(map(len, parts)):
        assert sum(item.share for item in parts) == pytest.approx(1)
    assert all(item.share == 0 for item in parts if not len(item))
    for item in parts:
        (language,) = (found for found in corpus if found.language == item.language)
        told = {language.source_names[number] for number in language.sources[item.members]}
        assert item.source is None or told == {item.source}
    if sources is None:
        assert sum(map(len, parts)) == sum(map(len, corpus))


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
        divide(corpus, mixture("tokens", {"en": 1.0, "fi": 1.0}))
    assert str(caught.value) == f"params.yaml: mixture.weights: 'fi': {reason}"


@pytest.mark.parametrize(
    ("weights", "sources", "message"),
    [
        (
            None,
            {"aya": 1, "alpacca": 1},
            r"mixture.sources: 'alpacca': .* has no conversation of it \(did you mean 'alpaca'\?\)",
        ),
        (
            {"fi": 1},
            {"aya": 1, "alpaca": 1},
            "mixture.sources: 'alpaca': no language of mixture.weights has a conversation of it",
        ),
        (
            {"en": 1, "fi": 1},
            {"alpaca": 1},
            "mixture.weights: 'fi': none of its conversations is of .* mixture.sources; it has aya",
        ),
    ],
)
def test_a_weight_on_a_source_without_data_is_named(
    weights: dict[str, float] | None, sources: dict[str, float], message: str
) -> None:
    corpus = [part("en", [1, 1], sources=["aya", "alpaca"]), part("fi", [1])]
    with pytest.raises(ParamsError, match=rf"^params\.yaml: {message}$"):
        divide(corpus, mixture("tokens", weights, sources))


def test_a_source_that_is_too_long_is_told_so() -> None:
    corpus = [part("en", [1], too_long=3, sources=["exams"])]
    with pytest.raises(ParamsError, match=r"'aya': none of its 3 conversations .* fits into"):
        divide(corpus, mixture("tokens", None, {"exams": 1, "aya": 1}))
