"""Items to scores: groups, weights, and forms of one question taken together."""

from typing import Any

import pytest

from minilingua.core.records import ItemResult, Score
from minilingua.evaluation.aggregate import groups_of, score_items

OVERALL = {"language": "all", "answer_format": "all", "instruction_language": "all"}


def item(name: str, hit: float = 1.0, **changes: Any) -> ItemResult:
    values: dict[str, Any] = {
        "model": "base",
        "task": "mcqa",
        "item": name,
        "language": "en",
        "answer_format": "text",
        "instruction_language": "en",
        "subsets": (),
        "values": {"accuracy": (hit, 1.0), "chance": (0.25, 1.0)},
        **changes,
    }
    return ItemResult(**values)


def figure(scores: list[Score], **wanted: Any) -> Score:
    found = [s for s in scores if all(getattr(s, name) == value for name, value in wanted.items())]
    assert len(found) == 1, found
    return found[0]


def test_an_item_counts_in_every_group_above_it() -> None:
    groups = set(groups_of(item("a", subsets=("seen_facts",))))
    assert len(groups) == 2 * 2 * 2 * 2
    assert ("mcqa_seen_facts", "all", "all", "en") in groups
    plain = item("a", answer_format=None, instruction_language=None, task="loss")
    assert set(groups_of(plain)) == {("loss", "en", None, None), ("loss", "all", None, None)}


def test_groups_are_counted_apart_and_together() -> None:
    items = [
        item("a", 1.0, language="fi", instruction_language="native", subsets=("seen_facts",)),
        item("b", 0.0, language="fi", answer_format="letter", subsets=("unseen_facts",)),
        item("c", 0.0, subsets=("seen_facts",)),
    ]
    scores = score_items(items, seed=1, resamples=50)

    def accuracy(**group: str) -> tuple[float, int]:
        score = figure(scores, metric="accuracy", **{"task": "mcqa", **OVERALL, **group})
        return score.value, score.n

    assert accuracy() == (1 / 3, 3)
    assert accuracy(language="fi") == (1 / 2, 2)
    assert accuracy(answer_format="text") == (1 / 2, 2)
    assert accuracy(instruction_language="native") == (1, 1)
    assert accuracy(instruction_language="en") == (0, 2)
    assert accuracy(task="mcqa_seen_facts") == (1 / 2, 2)
    assert accuracy(task="mcqa_unseen_facts") == (0, 1)
    assert not [s for s in scores if s.language == "en" and s.instruction_language == "native"]


def test_forms_of_a_question_are_one_draw() -> None:
    """Ten questions in three forms each say as much as ten questions, not as thirty."""
    once = [item(str(number), float(number % 2)) for number in range(10)]
    thrice = [
        item(str(number), float(number % 2), answer_format=form)
        for number in range(10)
        for form in ("letter", "number", "text")
    ]
    single, triple = (
        figure(score_items(items, seed=1, resamples=500), metric="accuracy", **OVERALL)
        for items in (once, thrice)
    )
    assert (single.value, single.n, triple.value, triple.n) == (0.5, 10, 0.5, 30)
    assert single.stderr == pytest.approx((0.25 / 9) ** 0.5)
    assert triple.stderr == pytest.approx((0.25 / 9) ** 0.5)
    assert (single.low, single.high) == (triple.low, triple.high)
    assert single.low is not None
    assert single.high is not None
    assert 0.1 <= single.low < 0.5 < single.high <= 0.9


def test_a_fact_in_all_its_languages_and_wordings_is_one_draw() -> None:
    """Ten facts asked in three languages, in two wordings each, say as much as ten questions."""
    once = [item(str(number), float(number % 2)) for number in range(10)]
    often = [
        item(f"{wording} {number}", float(number % 2), language=language, fact=str(number))
        for number in range(10)
        for wording in "ab"
        for language in ("en", "fi", "el")
    ]
    single, recurring = (
        figure(score_items(items, seed=1, resamples=500), metric="accuracy", **OVERALL)
        for items in (once, often)
    )
    assert (recurring.value, recurring.n) == (0.5, 60)
    assert recurring.stderr == pytest.approx(single.stderr)
    assert (recurring.low, recurring.high) == (single.low, single.high)
    greek = figure(
        score_items(often, seed=1, resamples=500),
        metric="accuracy",
        **{**OVERALL, "language": "el"},
    )
    assert (greek.value, greek.n) == (0.5, 20)
    assert greek.stderr == pytest.approx(single.stderr)


def test_chance_is_exact_and_one_draw_has_no_error() -> None:
    scores = score_items([item("a"), item("b", 0.0)], seed=1, resamples=50)
    chance = figure(scores, metric="chance", **OVERALL)
    assert (chance.value, chance.stderr, chance.low, chance.high) == (0.25, None, None, None)
    alone = figure(score_items([item("a")], seed=1, resamples=50), metric="accuracy", **OVERALL)
    assert (alone.value, alone.stderr, alone.low, alone.high) == (1.0, None, None, None)


def test_weights_are_what_n_counts() -> None:
    items = [
        item("a", task="loss", values={"nats_per_supervised_token": (6.0, 2.0)}),
        item("b", task="loss", values={"nats_per_supervised_token": (2.0, 6.0)}),
        item("c", task="loss", values={}),
    ]
    score = figure(score_items(items, seed=1, resamples=50), **OVERALL)
    assert (score.value, score.n) == (1.0, 8)


def test_the_order_of_items_changes_nothing() -> None:
    items = [item(str(n), n % 3 / 2, model=m) for n in range(9) for m in ("base", "result")]
    scores = score_items(items, seed=1, resamples=50)
    assert score_items(reversed(items), seed=1, resamples=50) == scores
    base, result = (
        figure(scores, metric="accuracy", model=model, **OVERALL) for model in ("base", "result")
    )
    assert (base.low, base.high) == (result.low, result.high)  # the same draws for both


@pytest.mark.parametrize("alone", [("code",), ("code", "fi")])
def test_an_item_alone_in_its_language_is_drawn_like_the_others(alone: tuple[str, ...]) -> None:
    """As a stratum of its own it would be in every draw once: an interval without width."""
    items = [item(str(n), 1.0, fact=f"fact {n}") for n in range(20)]
    items += [item(f"of {language}", 0.0, language=language) for language in alone]
    score = figure(score_items(items, seed=1, resamples=400), metric="accuracy", **OVERALL)
    assert score.low is not None
    assert score.low < score.value - 0.04
    assert score.high == 1.0
    only = [item(str(n), n % 2, language=("fi", "sv")[n]) for n in range(2)]
    score = figure(score_items(only, seed=1, resamples=400), metric="accuracy", **OVERALL)
    assert (score.low, score.high) == (0.0, 1.0)


def test_the_error_of_a_language_knows_its_own_items_only() -> None:
    english = [item(str(n), float(n % 3 == 0)) for n in range(9)]
    finnish = [item(f"fi {n}", 1.0, language="fi") for n in range(30)]
    of_english = {**OVERALL, "language": "en"}
    errors = [
        figure(score_items(items, seed=1, resamples=10), metric="accuracy", **of_english).stderr
        for items in (english, english + finnish)
    ]
    assert errors[0] == errors[1] == pytest.approx((2 / 9 / 8) ** 0.5)
