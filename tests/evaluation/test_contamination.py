"""Curation's findings become a subset of the items."""

import json
from pathlib import Path
from typing import Any

import pytest

from minilingua.core.errors import DataError
from minilingua.evaluation.aggregate import score_items
from minilingua.evaluation.contamination import contaminated_items, mark_uncontaminated

from .test_aggregate import OVERALL, figure, item


def write(path: Path, *findings: dict[str, Any]) -> Path:
    whole = {"set": "test", "item": "i", "key": None, "is_dropped": False, "source": "aya"}
    path.write_text("".join(json.dumps(whole | finding) + "\n" for finding in findings))
    return path


def test_only_test_items_that_were_trained_on_count(tmp_path: Path) -> None:
    findings = write(
        tmp_path / "found.jsonl",
        {"item": "conversation", "key": "question"},
        {"item": "plain"},
        {"item": "dropped", "key": "dropped-key", "is_dropped": True},
        {"item": "held", "set": "validation"},
        {"item": "belebele-7", "set": "benchmarks/belebele"},
    )
    assert contaminated_items(findings) == frozenset({"conversation", "question", "plain"})


def test_nobody_looked_is_not_nothing_found(tmp_path: Path) -> None:
    assert contaminated_items(tmp_path / "absent.jsonl") is None
    assert contaminated_items(write(tmp_path / "empty.jsonl")) == frozenset()
    items = [item("a"), item("b")]
    assert mark_uncontaminated(items, None) == items
    assert all(i.subsets == ("uncontaminated",) for i in mark_uncontaminated(items, frozenset()))


def test_every_score_is_there_without_them_as_well() -> None:
    items = [item("a", 1.0, subsets=("seen_facts",)), item("b", 0.0), item("c", 0.0)]
    marked = mark_uncontaminated(items, {"a"})
    assert [i.subsets for i in marked] == [
        ("seen_facts",),
        ("uncontaminated",),
        ("uncontaminated",),
    ]
    scores = score_items(marked, seed=1, resamples=50)
    for task, value, n in (("mcqa", 1 / 3, 3), ("mcqa_uncontaminated", 0.0, 2)):
        score = figure(scores, task=task, metric="accuracy", **OVERALL)
        assert (score.value, score.n) == (value, n)


def test_a_malformed_finding_names_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "found.jsonl", {}, {"is_dropped": "no"})
    with pytest.raises(DataError, match=r"found\.jsonl:2: is_dropped"):
        contaminated_items(path)
