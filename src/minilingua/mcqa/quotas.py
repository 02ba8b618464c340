"""Quotas instead of dice: how many items of a language get which answer format and instruction.

    shares ─► expected counts (languages x classes, fractions) ─► whole numbers

The whole numbers are a controlled rounding: every cell is its expected count rounded down or up,
each language's row sums to its items, and each column sums to the largest-remainder rounding of
the total over languages. So 40/30/30 holds in every language within one item, and in total as
exactly as integers allow (L. H. Cox, "A Constructive Procedure for Unbiased Controlled
Rounding", JASA 1987, states the problem). Counts are exact fractions: no floating point decides.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from minilingua.core.records import ANSWER_FORMATS, AnswerFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageQuota:
    """How many items of one language get each combination."""

    english: Mapping[AnswerFormat, int]
    """Items with an English instruction, by answer format."""
    own: Mapping[AnswerFormat, int]
    """Items with an instruction in the item's language, by answer format."""

    def deal(self) -> list[tuple[AnswerFormat, bool]]:
        """Returns one (answer format, instruction is English) per item, grouped."""
        return [
            (answer_format, is_english)
            for counts, is_english in ((self.english, True), (self.own, False))
            for answer_format in ANSWER_FORMATS
            for _ in range(counts[answer_format])
        ]


def plan_quotas(
    items: Mapping[str, int], answer_formats: Mapping[AnswerFormat, float], english: float
) -> dict[str, LanguageQuota]:
    """Crosses the two quotas for every language.

    English itself takes no part in the second quota: its instructions are English either way, so
    it is planned as "own" throughout and neither fills nor empties the English share of others.

    Args:
        items: items of each language.
        answer_formats: share of each answer format; a missing one is 0; they sum to 1.
        english: share of English instructions.
    """
    languages = list(items)
    shares = [_fraction(answer_formats.get(name, 0.0)) for name in ANSWER_FORMATS]
    total = sum(shares)
    formats = round_controlled(
        [[items[language] * share / total for share in shares] for language in languages]
    )
    english_share = _fraction(english)
    instructions = round_controlled(
        [
            [size * english_share, size * (1 - english_share)]
            for size in (0 if language == "en" else items[language] for language in languages)
        ]
    )
    crossed = round_controlled(
        [
            [Fraction(with_english * count, max(items[language], 1)) for count in counts]
            for language, counts, (with_english, _) in zip(
                languages, formats, instructions, strict=True
            )
        ]
    )
    return {
        language: LanguageQuota(
            english=dict(zip(ANSWER_FORMATS, row, strict=True)),
            own={
                name: count - taken
                for name, count, taken in zip(ANSWER_FORMATS, counts, row, strict=True)
            },
        )
        for language, counts, row in zip(languages, formats, crossed, strict=True)
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


def round_controlled(expected: Sequence[Sequence[Fraction]]) -> list[list[int]]:
    """Rounds a table so that cells, row sums and column sums are all roundings of their own.

    Each row is rounded by largest remainder; then units move, within rows, from columns that got
    too many to columns that got too few, along the path that costs the least fraction. Such a
    path exists for tables of up to three columns: then a column, or two of three, can never be
    owed more units than the rows with a fraction there can give (the max-flow min-cut condition).

    Args:
        expected: rows of two or three counts; each row sums to a whole number.

    Returns:
        Whole numbers of the same shape. Row sums are unchanged, column sums are
        ``largest_remainder`` of the expected column sums.
    """
    rows = [largest_remainder(row) for row in expected]
    owed = [
        wanted - got
        for wanted, got in zip(
            largest_remainder([sum(column, Fraction(0)) for column in zip(*expected, strict=True)]),
            [sum(column) for column in zip(*rows, strict=True)],
            strict=True,
        )
    ]
    while any(owed):
        for row, source, target in _cheapest_path(expected, rows, owed):
            rows[row][source] -= 1
            rows[row][target] += 1
            owed[source] += 1
            owed[target] -= 1
    return rows


def _cheapest_path(
    expected: Sequence[Sequence[Fraction]], rows: Sequence[Sequence[int]], owed: Sequence[int]
) -> list[tuple[int, int, int]]:
    """Returns moves (row, from column, to column) leading from a column with too many units.

    Breadth first over columns, so at most one move fewer than there are columns.
    """
    start = min(range(len(owed)), key=lambda column: owed[column])
    reached: dict[int, list[tuple[int, int, int]]] = {start: []}
    queue = deque([start])
    while queue:
        source = queue.popleft()
        if owed[source] > 0:
            return reached[source]
        for target in range(len(owed)):
            moves = [
                (cells[source] - cells[target], row)
                for row, cells in enumerate(expected)
                if rows[row][source] > cells[source] and rows[row][target] < cells[target]
            ]
            if target not in reached and moves:
                reached[target] = [*reached[source], (min(moves)[1], source, target)]
                queue.append(target)
    raise ValueError("no controlled rounding: more than three columns?")


def _fraction(share: float) -> Fraction:
    """Returns the decimal number that was written in params.yaml, not its binary neighbour."""
    return Fraction(repr(share))
