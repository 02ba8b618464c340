"""Two sides item by item."""

from pathlib import Path
from typing import Any

import pytest

from minilingua.core.errors import DataError
from minilingua.core.records import ItemResult
from minilingua.core.seeding import generator
from minilingua.evaluation.comparison import Comparison, compare
from minilingua.evaluation.headline import told_p
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
    assert english.draws == 40  # its own, not those of both languages
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


def test_losses_per_token_are_not_compared_between_tokenizers() -> None:
    def losses(tokens: float) -> list[ItemResult]:
        values = {
            "nats_per_supervised_token": (3.0 * tokens, tokens),
            "bits_per_byte": (9.0, 4.0),
        }
        return [item(str(n), task="loss", values=values) for n in range(5)]

    same, other = (
        {c.metric for c in compare(losses(2.0), losses(n), seed=1, resamples=50).comparisons}
        for n in (2.0, 3.0)
    )
    assert same == {"nats_per_supervised_token", "bits_per_byte"}
    assert other == {"bits_per_byte"}


def test_no_p_is_told_to_be_0() -> None:
    assert [told_p(p) for p in (1 / 2001, 0.0005, 0.0123, 1.0)] == [
        "<0.001", "0.001", "0.012", "1.000",
    ]  # fmt: skip


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


def test_a_fact_is_one_draw_and_older_evaluations_know_none() -> None:
    """Four facts in ten languages: forty questions got better, which four coins do as well."""
    languages = ["en", "de", "es", "fr", "it", "pt", "nl", "pl", "cs", "bg"]

    def facts(hit: float, *, told: bool = True) -> list[ItemResult]:
        return [
            item(f"{fact} {language}", hit, language=language, fact=fact if told else None)
            for fact in "abcd"
            for language in languages
        ]

    both = compare(facts(0.0), facts(1.0), seed=1, resamples=4000)
    overall = find(both.comparisons, language="all", answer_format="all")
    assert (overall.n, overall.draws) == (40, 4)
    assert overall.p == pytest.approx(2 / 2**4, abs=0.02)
    assert overall.verdict == "no difference shown"
    for left, right in ((False, True), (True, False)):
        sides = facts(0.0, told=left), facts(1.0, told=right)
        mixed = compare(*sides, seed=1, resamples=4000)
        assert mixed == both
    apart = compare(facts(0.0, told=False), facts(1.0, told=False), seed=1, resamples=4000)
    assert find(apart.comparisons, language="all", answer_format="all").draws == 40


def test_the_same_items_in_two_groups_have_the_same_p() -> None:
    names = [str(number) for number in range(12)]
    hits = [{name: float(int(name) % share == 0) for name in names} for share in (2, 3)]
    sides = [side(hit, subsets=("uncontaminated",)) for hit in hits]
    comparisons = compare(*sides, seed=1, resamples=300).comparisons
    groups = [
        find(comparisons, task=task, language=language, answer_format="all")
        for task in ("mcqa", "mcqa_uncontaminated")
        for language in ("en", "all")
    ]
    assert 0 < groups[0].p < 1
    assert len({(group.p, group.low, group.high) for group in groups}) == 1


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


def test_a_figure_of_few_answers_of_one_side_says_so() -> None:
    """Repetition is of answers of four tokens and more: one side may have few of them."""
    sides = [
        [
            item(str(n), task="answers", values={"repetition": (0.5 * has, float(has))})
            for n, has in enumerate(having)
        ]
        for having in ([True] * 8, [True] + [False] * 7)
    ]
    found = compare(sides[0], sides[1], seed=1, resamples=50).comparisons
    assert {(c.left, c.right, c.n, c.p) for c in found} == {(0.5, 0.5, 1, 1.0)}
