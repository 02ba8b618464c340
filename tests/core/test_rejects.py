from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.files import read_jsonl, write_jsonl
from minilingua.core.rejects import (
    EXCERPT_CHARACTERS,
    ROWS_PER_REASON,
    Reject,
    RejectSample,
    excerpt,
)


def reject(number: int, reason: str = "empty", source: str = "aya") -> Reject:
    return Reject(
        reason=reason,
        source=source,
        language="en",
        row=f"{source}:{number}",
        found="",
        prompt="",
        answer="",
    )


def sample(numbers: list[int]) -> RejectSample:
    made = RejectSample()
    for number in numbers:
        made.offer("empty", "aya", number, lambda number=number: reject(number))  # type: ignore[misc]
    return made


@given(st.permutations(range(30)), st.integers(0, 30), st.integers(0, 30))
def test_the_sample_is_bounded_and_blind_to_order_and_parts(
    order: list[int], size: int, cut: int
) -> None:
    chosen = order[:size]
    merged = sample(chosen[:cut])
    merged.merge(sample(chosen[cut:]))
    assert merged.rows() == sample(chosen).rows() == sample(sorted(chosen)).rows()
    assert [row.row for row in merged.rows()] == [
        f"aya:{number}" for number in sorted(chosen)[:ROWS_PER_REASON]
    ]


def test_reasons_and_sources_are_sampled_apart() -> None:
    made = RejectSample()
    kinds = [("b", "aya"), ("a", "aya"), ("a", "alpaca"), ("a", "alpaca")]
    for number, (reason, source) in enumerate(kinds):
        made.offer(reason, source, number, lambda: reject(number, reason, source))  # noqa: B023
    assert [(row.reason, row.source) for row in made.rows()] == sorted(kinds)


def test_a_row_that_is_not_taken_in_is_not_made() -> None:
    made = sample(list(range(ROWS_PER_REASON)))

    def fail() -> Reject:
        raise AssertionError

    made.offer("empty", "aya", 1000, fail)
    assert len(made.rows()) == ROWS_PER_REASON


def test_each_reason_has_a_file(tmp_path: Path) -> None:
    made = sample([3, 1])
    made.offer("too_long", "aya", 7, lambda: reject(7, "too_long"))
    made.write(tmp_path / "rejects")
    assert sorted(path.name for path in (tmp_path / "rejects").iterdir()) == [
        "empty.jsonl",
        "too_long.jsonl",
    ]
    read = list(read_jsonl(tmp_path / "rejects" / "empty.jsonl", Reject))
    assert [row.row for row in read] == ["aya:1", "aya:3"]


def test_texts_are_cut() -> None:
    assert len(excerpt("x" * 1000)) == EXCERPT_CHARACTERS


def test_half_a_surrogate_pair_can_be_written(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rejects.jsonl", [replace(reject(1), prompt=excerpt("a \ud83d b"))])
    (read,) = read_jsonl(tmp_path / "rejects.jsonl", Reject)
    assert read.prompt == r"a \ud83d b"
