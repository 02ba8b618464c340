import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.curation.duplicates import DuplicateIndex, text_digest
from tests.curation.examples import example


@pytest.mark.parametrize(
    ("first", "second"),
    [("Blue", "BLUE"), ("a  b", " a\nb "), ("é", "e\u0301"), ("Straße", "STRASSE")],
)
def test_case_space_and_encoding_do_not_tell_texts_apart(first: str, second: str) -> None:
    assert text_digest(example(first, "x")) == text_digest(example(second, "x", source="alpaca"))


@pytest.mark.parametrize(
    ("first", "second"),
    [(("a", "b"), ("b", "a")), (("10²", "x"), ("102", "x")), (("a b", "c"), ("a", "b c"))],
)
def test_other_texts_stay_apart(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert text_digest(example(*first)) != text_digest(example(*second))


def test_an_identical_text_under_another_language_is_a_duplicate() -> None:
    index = DuplicateIndex()
    rows = [example("OK?", "OK", language=language) for language in ("de", "fi")]
    assert [is_repeated for _, is_repeated in index.first_of_each(rows)] == [False, True]


@given(st.lists(st.sampled_from("abcAB ")))
def test_one_of_each_text_stays(prompts: list[str]) -> None:
    index = DuplicateIndex()
    rows = [example(prompt, "x") for prompt in prompts]
    kept = [row.messages[0].content for row, repeated in index.first_of_each(rows) if not repeated]
    assert len(kept) == len({prompt.strip().casefold() for prompt in prompts})
