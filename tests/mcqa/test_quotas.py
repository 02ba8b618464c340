from fractions import Fraction
from math import ceil, floor

from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.core.records import ANSWER_FORMATS, AnswerFormat
from minilingua.mcqa.quotas import largest_remainder, plan_quotas, round_controlled

SIZES = st.dictionaries(st.sampled_from(NATURAL_LANGUAGES), st.integers(0, 400))
PERCENTS = st.tuples(st.integers(0, 100), st.integers(0, 100)).map(
    lambda pair: (min(pair), max(pair) - min(pair), 100 - max(pair))
)
REFERENCE: dict[AnswerFormat, float] = {"letter": 0.4, "number": 0.3, "text": 0.3}


def test_a_language_of_ten_items_gets_four_three_three() -> None:
    quota = plan_quotas({"de": 10}, REFERENCE, 0.3)["de"]
    total = {name: quota.english[name] + quota.own[name] for name in ANSWER_FORMATS}
    assert total == {"letter": 4, "number": 3, "text": 3}
    assert sum(quota.english.values()) == 3


def test_remainders_are_shared_between_languages() -> None:
    """Ten languages of one item: alone, each would give it to letters."""
    sizes = dict.fromkeys(NATURAL_LANGUAGES[1:11], 1)
    quotas = plan_quotas(sizes, REFERENCE, 0.3).values()
    totals = [sum(q.english[name] + q.own[name] for q in quotas) for name in ANSWER_FORMATS]
    assert totals == [4, 3, 3]
    assert sum(sum(quota.english.values()) for quota in quotas) == 3


def test_shares_are_decimal_numbers_not_binary_ones() -> None:
    """0.3 as a binary fraction lies below 3/10 and would make 29.999.. of 100 items."""
    assert sum(plan_quotas({"de": 100}, REFERENCE, 0.3)["de"].english.values()) == 30


def test_english_keeps_out_of_the_instruction_quota() -> None:
    quotas = plan_quotas({"en": 1000, "fi": 10}, REFERENCE, 0.3)
    assert sum(quotas["en"].english.values()) == 0
    assert sum(quotas["fi"].english.values()) == 3


@given(sizes=SIZES, percents=PERCENTS, english=st.integers(0, 100))
def test_quotas_are_exact_per_language_and_in_total(
    sizes: dict[str, int], percents: tuple[int, int, int], english: int
) -> None:
    shares = dict(zip(ANSWER_FORMATS, percents, strict=True))
    quotas = plan_quotas(sizes, {n: p / 100 for n, p in shares.items()}, english / 100)
    for language, size in sizes.items():
        quota = quotas[language]
        assert len(quota.deal()) == size
        with_english = sum(quota.english.values())
        expected_english = 0 if language == "en" else Fraction(size * english, 100)
        assert floor(expected_english) <= with_english <= ceil(expected_english)
        for name in ANSWER_FORMATS:
            count = quota.english[name] + quota.own[name]
            assert floor(Fraction(size * shares[name], 100)) <= count
            assert count <= ceil(Fraction(size * shares[name], 100))
            crossed = Fraction(with_english * count, max(size, 1))
            assert floor(crossed) <= quota.english[name] <= ceil(crossed)
            assert quota.own[name] >= 0
    everything = sum(sizes.values())
    totals = [
        sum(quota.english[name] + quota.own[name] for quota in quotas.values())
        for name in ANSWER_FORMATS
    ]
    assert totals == largest_remainder(
        [Fraction(everything * shares[name], 100) for name in ANSWER_FORMATS]
    )
    others = sum(size for language, size in sizes.items() if language != "en")
    assert (
        sum(sum(quota.english.values()) for quota in quotas.values())
        == (
            largest_remainder(
                [Fraction(others * english, 100), Fraction(others * (100 - english), 100)]
            )[0]
        )
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 3), st.integers(1, 20)),
        max_size=15,
    )
)
def test_any_table_of_three_columns_can_be_rounded(
    rows: list[tuple[int, int, int, int]],
) -> None:
    """Rows need not have the same proportions."""
    table = [
        [Fraction(a, d), Fraction(b, d), total + ceil(Fraction(a + b, d)) - Fraction(a + b, d)]
        for a, b, total, d in rows
    ]
    rounded = round_controlled(table)
    for expected, found in zip(table, rounded, strict=True):
        assert sum(expected) == sum(found)
        assert all(floor(e) <= f <= ceil(e) for e, f in zip(expected, found, strict=True))
    if table:
        sums = [sum(column, Fraction(0)) for column in zip(*table, strict=True)]
        assert [sum(column) for column in zip(*rounded, strict=True)] == largest_remainder(sums)


@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(1, 1000))
def test_largest_remainder_keeps_the_sum_and_the_order_of_sizes(
    weights: list[int], total: int
) -> None:
    if not sum(weights):
        return
    expected = [Fraction(weight * total, sum(weights)) for weight in weights]
    rounded = largest_remainder(expected)
    assert sum(rounded) == total
    assert all(abs(r - e) < 1 for r, e in zip(rounded, expected, strict=True))
    up = [e - floor(e) for r, e in zip(rounded, expected, strict=True) if r > floor(e)]
    down = [e - floor(e) for r, e in zip(rounded, expected, strict=True) if r == floor(e)]
    assert min(up, default=1) >= max(down, default=0)
