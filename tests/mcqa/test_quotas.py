from fractions import Fraction
from math import ceil, floor

from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.core.records import ANSWER_FORMATS, AnswerFormat
from minilingua.mcqa.quotas import largest_remainder, plan_quotas, round_tables

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


def rounds(count: int, expected: Fraction) -> bool:
    return floor(expected) <= count <= ceil(expected)


@settings(deadline=None)
@given(sizes=SIZES, percents=PERCENTS, english=st.integers(0, 100))
def test_quotas_are_exact_in_all_three_ways(
    sizes: dict[str, int], percents: tuple[int, int, int], english: int
) -> None:
    shares = {n: Fraction(p, 100) for n, p in zip(ANSWER_FORMATS, percents, strict=True)}
    quotas = plan_quotas(sizes, {n: float(p) for n, p in shares.items()}, english / 100)
    assert list(quotas) == list(sizes)
    for language, size in sizes.items():
        quota = quotas[language]
        abroad = Fraction(0 if language == "en" else english, 100)
        assert len(quota.deal()) == size
        assert rounds(sum(quota.english.values()), size * abroad)
        for name, share in shares.items():
            assert rounds(quota.english[name] + quota.own[name], size * share)
            assert rounds(quota.english[name], size * share * abroad)
            assert rounds(quota.own[name], size * share * (1 - abroad))
            assert min(quota.english[name], quota.own[name]) >= 0
    totals = [
        sum(quota.english[name] + quota.own[name] for quota in quotas.values())
        for name in ANSWER_FORMATS
    ]
    everything = sum(sizes.values())
    assert totals == largest_remainder([everything * share for share in shares.values()])
    others = {language: size for language, size in sizes.items() if language != "en"}
    abroad = Fraction(english, 100)
    in_english = sum(sum(quotas[language].english.values()) for language in others)
    expected = [sum(others.values()) * part for part in (abroad, 1 - abroad)]
    assert in_english == largest_remainder(expected)[0]
    for name, share in shares.items():
        for table, part in (("english", abroad), ("own", 1 - abroad)):
            total = sum(getattr(quotas[language], table)[name] for language in others)
            assert rounds(total, sum(others.values()) * share * part)


def test_the_shares_of_the_reference_are_exact_too() -> None:
    """Its README says 30 % English instructions, its code makes 20 %."""
    quotas = plan_quotas({"en": 50, "cs": 100, "sv": 150}, REFERENCE, 0.2)
    assert quotas["cs"].english == {"letter": 8, "number": 6, "text": 6}
    assert quotas["sv"].english == {"letter": 12, "number": 9, "text": 9}
    assert quotas["en"].own == {"letter": 20, "number": 15, "text": 15}


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 5)] * 6, st.integers(1, 12)), max_size=3))
def test_tables_of_any_proportions_keep_their_margins(rows: list[tuple[int, ...]]) -> None:
    """Where rounding in three ways has no solution, only combinations give way."""
    expected = [[Fraction(cell, row[-1]) for cell in row[:-1]] for row in rows]
    for cells in expected:
        cells[-1] += ceil(sum(cells)) - sum(cells)
    tables = round_tables(expected, [Fraction(0)] * 6)[:-1]
    for table, cells in zip(tables, expected, strict=True):
        assert sum(table) == sum(cells)
        for format_number in range(3):
            pair = slice(format_number, None, 3)
            assert rounds(sum(table[pair]), sum(cells[pair], Fraction(0)))
        assert rounds(sum(table[:3]), sum(cells[:3], Fraction(0)))


@settings(deadline=None)
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
