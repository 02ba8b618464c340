"""Two sides item by item."""

from pathlib import Path
from typing import Any

import pytest

from minilingua.core.errors import DataError
from minilingua.core.records import ItemResult
from minilingua.core.seeding import generator
from minilingua.evaluation.comparison import Comparison, compare
from minilingua.evaluation.plot import write_comparison_plot

from .test_aggregate import item


def side(hits: dict[str, float], **changes: Any) -> list[ItemResult]:
    return [item(name, hit, **changes) for name, hit in hits.items()]


def find(comparisons: list[Comparison], **wanted: Any) -> Comparison:
    found = [c for c in comparisons if all(getattr(c, k) == v for k, v in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def test_a_clear_difference_is_named_and_a_draw_is_not() -> None:
    names = [str(number) for number in range(40)]
    left = side(dict.fromkeys(names, 0.0)) + side(dict.fromkeys(names, 1.0), language="fi")
    right = side({n: float(int(n) % 4 > 0) for n in names}) + side(
        {n: float(n != "7") for n in names}, language="fi"
    )
    compared = compare(left, right, seed=1, resamples=400)
    english = find(compared.comparisons, language="en", answer_format="all")
    assert (english.left, english.right, english.difference) == (0.0, 0.75, 0.75)
    assert english.low is not None
    assert english.high is not None
    assert 0.55 < english.low < 0.75 < english.high < 0.95
    assert (english.verdict, english.n, english.chance) == ("better", 40, 0.25)
    assert english.p == pytest.approx(1 / 401)
    finnish = find(compared.comparisons, language="fi", answer_format="all")
    assert finnish.difference == pytest.approx(-0.025)
    assert finnish.verdict == "no difference shown"
    assert finnish.p == 1.0
    backwards = compare(right, left, seed=1, resamples=400).comparisons
    assert find(backwards, language="en", answer_format="all").verdict == "worse"


def test_for_a_loss_less_is_better() -> None:
    sides = [
        [
            item(str(n), task="loss", values={"bits_per_byte": (value * (1 + n), 1.0 + n)})
            for n in range(20)
        ]
        for value in (3.0, 2.0)
    ]
    comparisons = compare(sides[0], sides[1], seed=1, resamples=200).comparisons
    assert {c.verdict for c in comparisons} == {"better"}


def test_sides_are_compared_on_what_both_answered() -> None:
    left = side({"a": 1.0, "b": 0.0, "c": 1.0})
    right = side({"b": 1.0, "c": 1.0, "d": 0.0, "e": 0.0})
    compared = compare(left, right, seed=1, resamples=50)
    assert (compared.only_left, compared.only_right) == (1, 2)
    assert find(compared.comparisons, language="all", answer_format="all").right == 1.0
    with pytest.raises(DataError, match="no item in common"):
        compare(left, side({"x": 1.0}), seed=1, resamples=50)


def test_many_languages_are_corrected_for() -> None:
    """One of ten languages differs by luck, with p < 0.05: that is not enough."""
    left, right = [], []
    for number, language in enumerate(["en", "de", "es", "fr", "it", "pt", "nl", "pl", "cs", "bg"]):
        names = [str(n) for n in range(6)]
        left += side(dict.fromkeys(names, 0.0), language=language)
        hits = dict.fromkeys(names, 1.0) if number == 0 else dict.fromkeys(names, 0.0)
        right += side(hits, language=language)
    comparisons = compare(left, right, seed=1, resamples=2000).comparisons
    lucky = find(comparisons, language="en", answer_format="all")
    assert lucky.p < 0.05 < lucky.q
    assert lucky.verdict == "no difference shown"
    overall = find(comparisons, language="all", answer_format="all")
    assert overall.q == overall.p  # its own family


def test_the_plot_is_the_same_again(tmp_path: Path) -> None:
    rng = generator(1, "test")
    sides = [
        side({str(n): float(rng.random() < share) for n in range(30)}, language=language)
        + [item(str(n), task="loss", language=language, answer_format=None,
                instruction_language=None, values={"bits_per_byte": (share * 3, 1.0)})
           for n in range(3)]
        for share in (0.3, 0.7)
        for language in ("fi",)
    ]  # fmt: skip
    comparisons = compare(sides[0], sides[1], seed=1, resamples=100).comparisons
    for name in ("a.png", "b.png"):
        write_comparison_plot(tmp_path / name, comparisons, "base", "result")
    data = (tmp_path / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert data == (tmp_path / "b.png").read_bytes()
