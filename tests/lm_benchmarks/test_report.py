"""Means over languages: what is a draw, and how English counts."""

from typing import Any

import numpy as np
import pytest

from minilingua.core.records import Score
from minilingua.lm_benchmarks.report import _clusters, _over_languages


def _score(language: str, instruction: str | None, value: float, **changes: Any) -> Score:
    values: dict[str, Any] = {
        "model": "base",
        "task": "belebele_chat",
        "language": language,
        "answer_format": "letter",
        "instruction_language": instruction,
        "metric": "acc",
        "value": value,
        "stderr": 0.1,
        "n": 4,
    }
    return Score(**(values | changes))


def test_english_counts_among_native_instructions() -> None:
    scores = [_score("en", "en", 0.5), _score("fi", "en", 0.3), _score("fi", "native", 0.1)]
    found = {score.instruction_language: score for score in _over_languages(scores, {})}
    assert found["en"].value == pytest.approx(0.4)
    assert found["native"].value == pytest.approx(0.3)
    assert found["native"].n == 8


def test_errors_of_corpus_metrics_are_not_divided_by_the_number_of_languages() -> None:
    scores = [
        _score(language, None, 20, task="flores", metric="chrf", stderr=error)
        for language, error in (("de", 0.5), ("fi", 0.7))
    ]
    (found,) = _over_languages(scores, {})
    assert found.stderr == pytest.approx(0.6)


def test_a_row_in_all_its_languages_is_one_draw() -> None:
    totals, weights = _clusters({"de": [1, 0, 1], "fi": [1, 0, 0]})
    assert totals == pytest.approx(np.array([2, 0, 1]) / 3)
    assert weights == pytest.approx([2 / 3] * 3)
    assert totals.sum() / weights.sum() == pytest.approx(0.5)


def test_languages_of_other_lengths_count_alike() -> None:
    totals, weights = _clusters({"de": [1, 1], "fi": [0, 0, 0, 1]})
    assert len(totals) == 6
    assert totals.sum() / weights.sum() == pytest.approx((1 + 0.25) / 2)
