"""Quotas instead of dice: how many items of a language get which answer format and instruction.

    shares ─► expected counts (languages x instructions x formats, fractions) ─► whole numbers

The whole numbers are a controlled rounding in all three ways at once. In every language each
answer format, each instruction language and each combination of the two has its expected count
rounded down or up. Over all languages so have the combinations, and the totals of formats and of
instructions are their largest-remainder rounding. So 40/30/30 and 30/70 hold in every language
within one item, and in total as exactly as integers allow. (L. H. Cox, "A Constructive Procedure
for Unbiased Controlled Rounding", JASA 1987, states the problem. In three ways a solution need not
exist; the search then widens the bounds of combinations, never those of formats and
instructions.) Counts are exact fractions: no floating point decides.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

from minilingua.core.records import ANSWER_FORMATS, AnswerFormat

_COLUMNS = len(ANSWER_FORMATS)

Number = TypeVar("Number", int, Fraction)

Cells = tuple[int, ...]
"""Items by answer format with an English instruction, then those with an own one: 2 x 3 numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageQuota:
    """How many items of one language get each combination."""

    english: Mapping[AnswerFormat, int]
    """Items with an English instruction, by answer format."""
    own: Mapping[AnswerFormat, int]
    """Items with an instruction in the item's language, by answer format."""

    def deal(self) -> list[tuple[AnswerFormat, bool]]:
        """Returns one (answer format, instruction is English) per item, grouped."""
        hand: list[tuple[AnswerFormat, bool]] = []
        for counts, is_english in ((self.english, True), (self.own, False)):
            for answer_format in ANSWER_FORMATS:
                hand += [(answer_format, is_english)] * counts[answer_format]
        return hand


def plan_quotas(
    items: Mapping[str, int], answer_formats: Mapping[AnswerFormat, float], english: float
) -> dict[str, LanguageQuota]:
    """Rounds the shares of every language.

    English itself takes no part in the second quota: its instructions are English either way, so
    it is planned as "own" throughout and neither fills nor empties the English share of others.

    Args:
        items: items of each language.
        answer_formats: share of each answer format; a missing one is 0; they sum to 1.
        english: share of English instructions.
    """
    named = [_fraction(answer_formats.get(name, 0.0)) for name in ANSWER_FORMATS]
    formats = [share / sum(named) for share in named]
    abroad = _fraction(english)
    crossed = [share * part for part in (abroad, 1 - abroad) for share in formats]
    at_home = [Fraction(0)] * _COLUMNS + formats
    others = [language for language in items if language != "en"]
    *rounded, english_table = round_tables(
        [[items[language] * share for share in crossed] for language in others],
        apart=[items.get("en", 0) * share for share in at_home],
    )
    tables = dict(zip(others, rounded, strict=True)) | {"en": english_table}
    return {
        language: LanguageQuota(
            english=dict(zip(ANSWER_FORMATS, tables[language][:_COLUMNS], strict=True)),
            own=dict(zip(ANSWER_FORMATS, tables[language][_COLUMNS:], strict=True)),
        )
        for language in items
    }


def largest_remainder(expected: Sequence[Fraction]) -> list[int]:
    """Rounds counts to whole numbers of the same sum: the largest fractions are rounded up.

    Equal fractions are rounded up from the left.
    """
    rounded = [value.__floor__() for value in expected]
    missing = int(sum(expected)) - sum(rounded)
    by_fraction = sorted(range(len(rounded)), key=lambda index: rounded[index] - expected[index])
    for index in by_fraction[:missing]:
        rounded[index] += 1
    return rounded


def round_tables(expected: Sequence[Sequence[Fraction]], apart: Sequence[Fraction]) -> list[Cells]:
    """Rounds one 2 x 3 table for each language, as the module describes.

    A dynamic program over the languages: for each sum that the tables so far can have, the
    roundings with the least total deviation. Only sums that are roundings themselves are kept, a
    few dozen, and so the languages up to any one are balanced too.

    Args:
        expected: for each language the expected counts of ``Cells``, which sum to a whole number.
        apart: those of a language that counts for the totals of formats and instructions only.

    Returns:
        The tables, that of ``apart`` last.
    """
    sums = [sum(column, Fraction(0)) for column in zip(*expected, apart, strict=True)]
    margins = [tuple(largest_remainder(margin)) for margin in _margins(sums)]
    for width in itertools.count(1):
        found = [
            (deviation + more, (*chosen, table))
            for total, (deviation, chosen) in _search(expected, width).items()
            for more, table in _roundings(apart, width)
            if list(_margins(_added(total, table))) == margins
        ]
        if found:
            break
    return list(min(found)[1])


def _search(
    expected: Sequence[Sequence[Fraction]], width: int
) -> dict[Cells, tuple[Fraction, tuple[Cells, ...]]]:
    """Returns sum of tables ─► (deviation, tables), of combinations that deviate by < ``width``."""
    states: dict[Cells, tuple[Fraction, tuple[Cells, ...]]] = {
        (0,) * (2 * _COLUMNS): (Fraction(0), ())
    }
    sums = [Fraction(0)] * (2 * _COLUMNS)
    for row in expected:
        sums = [one + other for one, other in zip(sums, row, strict=True)]
        following: dict[Cells, tuple[Fraction, tuple[Cells, ...]]] = {}
        for (more, table), (state, (deviation, chosen)) in itertools.product(
            _roundings(row, width), states.items()
        ):
            total = _added(state, table)
            if _are_near(total, sums, width):
                candidate = (deviation + more, (*chosen, table))
                following[total] = min(candidate, following.get(total, candidate))
        states = following
    return states


def _roundings(row: Sequence[Fraction], width: int) -> list[tuple[Fraction, Cells]]:
    """Returns (deviation, table) of every rounding of a table that rounds its margins as well."""
    cells = [
        range(max(0, value.__ceil__() - width), value.__floor__() + width + 1) for value in row
    ]
    return [
        (
            sum((abs(cell - value) for cell, value in zip(table, row, strict=True)), Fraction(0)),
            table,
        )
        for table in itertools.product(*cells)
        if sum(table) == sum(row)
        and all(_are_near(*pair, 1) for pair in zip(_margins(table), _margins(row), strict=True))
    ]


def _added(cells: Cells, others: Cells) -> Cells:
    return tuple(one + other for one, other in zip(cells, others, strict=True))


def _margins(cells: Sequence[Number]) -> tuple[tuple[Number, ...], tuple[Number, ...]]:
    """Returns the sums by answer format, and those by English and own instruction."""
    english, own = cells[:_COLUMNS], cells[_COLUMNS:]
    formats = tuple(one + other for one, other in zip(english, own, strict=True))
    return formats, (sum(english[1:], english[0]), sum(own[1:], own[0]))


def _are_near(counts: Sequence[int], expected: Sequence[Fraction], width: int) -> bool:
    return all(abs(count - value) < width for count, value in zip(counts, expected, strict=True))


def _fraction(share: float) -> Fraction:
    """Returns the decimal number that was written in params.yaml, not its binary neighbour."""
    return Fraction(repr(share))
