from hypothesis import given
from hypothesis import strategies as st

from minilingua.curation.rejects import EXCERPT_CHARACTERS, ROWS_PER_REASON, RejectSample
from tests.curation.examples import example

ROWS = [example(f"Prompt {number}", "x" * 1000) for number in range(30)]


@given(st.permutations(range(30)), st.integers(0, 30))
def test_the_sample_is_bounded_and_blind_to_order(order: list[int], size: int) -> None:
    first, second = RejectSample(), RejectSample()
    for number in sorted(order[:size]):
        first.add("empty", ROWS[number])
    for number in order[:size]:
        second.add("empty", ROWS[number])
    assert first.rows() == second.rows()
    assert len(first.rows()) == min(size, ROWS_PER_REASON)


def test_reasons_are_sampled_apart_and_texts_cut() -> None:
    sample = RejectSample()
    sample.add("b", ROWS[0])
    sample.add("a", ROWS[1])
    sample.add("a", example(turns=()))
    rows = sample.rows()
    assert [row.reason for row in rows] == ["a", "a", "b"]
    assert {row.prompt for row in rows} == {"Prompt 0", "Prompt 1", ""}
    assert max(len(row.answer) for row in rows) == EXCERPT_CHARACTERS
