"""What generated answers name, for every format and in every language."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.evaluation.answers import extract, share_of_repetition

LETTERS = ("A", "B", "C", "D")
NUMBERS = ("1", "2", "3", "4")
OPTIONS = ("Guinea", "Guinea-Bissau", "Equatorial Guinea", "Rauma (town)")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("B", 1),
        (" b. ", 1),
        ("(C)", 2),
        ("**D**", 3),
        ("B) Guinea-Bissau", 1),
        ("B: because A is wrong", 1),
        ("B\nA, C and D are wrong.", 1),
        ("The answer is C.", 2),
        ("The correct option is: D", 3),
        ("A country? The answer is C", 2),
        ("Die richtige Antwort lautet B.", 1),
        ("La respuesta correcta es la D.", 3),
        ("Правилният отговор е В.", 1),  # a Cyrillic Ve, which looks like B
        ("Η σωστή απάντηση είναι Β", 1),  # a Greek Beta
        ("Oikea vastaus on D", 3),
        ("Equatorial Guinea", 2),
        ("It is Guinea-Bissau.", 1),
        ("A or B", None),
        ("a country in Africa", None),
        ("E", None),
        ("I do not know", None),
        ("", None),
        ("ABCD", None),
        # What is said first, or after a cue, counts, whatever is explained behind it.
        ("Answer: B) because A is wrong", 1),
        ("Let me see.\nAnswer: B\nA is wrong.", 1),
        ("The answer is C. A and B are wrong.", 2),
        ("A. No, the answer is C.", 2),
        ("Answer: A. Wait. Answer: B", 1),
        ("<answer>B</answer>", 1),
        ("\\boxed{B}", 1),
        ("**Antwort:** **B**", 1),
        ("the answer is b.", 1),
        ("b) Guinea", 1),
        ("A is correct", 0),
        # Two are none.
        ("A, B", None),
        ("A-B", None),
        ("(A) or (B)", None),
        ("B. Guinea-Bissau or C", None),
        ("Answer: A or B", None),
        ("La respuesta es A o B", None),
        ("Option B is right; option A is not.", None),
        ("A vs B", None),
        ("A B", None),
        ("Α", 0),  # a Greek Alpha
        ("А", 0),  # a Cyrillic A
        # A label far behind a cue is not what the cue announces.
        ("The answer follows from all that we know of it. A is wrong, so is C", None),
        # What is denied is not named, in any language.
        ("not A", None),
        ("It is not A.", None),
        ("It isn't (B)", None),
        ("The answer is not B", None),
        ("Neither A nor B", None),
        ("La respuesta no es B", None),
        ("Nie jest C", None),
        ("Ei ole C", None),
        ("Не е С", None),
        ("The answer is B, not A.", 1),
        ("No, B", 1),
        # The list of options, said again, is no answer.
        ("A\nB\nC\nD", None),
        ("A\n\nB", None),
        ("A\nA", 0),
        ("A. Guinea\nB. Guinea-Bissau\nC. Equatorial Guinea", None),
        ("A) Guinea B) Guinea-Bissau", None),
        ("A. Guinea\nB. Guinea-Bissau\nAnswer: B", 1),
        # Words of one letter.
        ("A country in Africa", None),
        ("A capital de França", None),
        ("В България", None),
        ("E allora", None),
        ("C'est B", 1),
        ("C'est la Guinée", None),
        # A label and another option's text contradict each other.
        ("I choose B, which is Equatorial Guinea", None),
        ("I choose C, which is Equatorial Guinea", 2),
    ],
)
def test_letters(answer: str, expected: int | None) -> None:
    assert extract("letter", answer, LETTERS, OPTIONS) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("2", 1),
        ("3.", 2),
        ("(4)", 3),
        ("2) Guinea-Bissau", 1),
        ("Number 3", 2),
        ("The answer is 4, not 1.", 3),
        ("The answer is 4.", 3),
        ("Svaret är 2", 1),
        ("12", None),
        ("7", None),
        ("1 and 2", None),
        ("２", 1),  # a full-width digit
        ("②", 1),
        ("3.5 million", None),
        ("1,000", None),
        ("2:00", None),
        ("1/2", None),
        ("1, 2", None),
        ("There are 3 options", None),
        ("1. Guinea\n2. Guinea-Bissau", None),
        ("2nd", None),
        ("not 2", None),
        ("No. 2", 1),
        ("2 - Guinea-Bissau", 1),
        ("Rauma (town)", 3),
    ],
)
def test_numbers(answer: str, expected: int | None) -> None:
    assert extract("number", answer, NUMBERS, OPTIONS) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Guinea", 0),
        ("guinea-bissau", 1),
        ('"Equatorial Guinea."', 2),
        ("The answer is Equatorial  Guinea", 2),
        ("Rauma (town)", 3),
        ("rauma (TOWN", 3),
        ("Guinea, not Guinea-Bissau", None),
        ("Guinea\n\nGuinea-Bissau is its neighbour.", 0),
        ("Guineas", None),
        ("B", None),
        ("Guinea\nGuinea-Bissau\nEquatorial Guinea", None),
        ("A. Guinea\nB. Guin", None),  # cut at the limit
        ("- Guinea\n- Guinea-Bissau\nAnswer: Guinea-Bissau", 1),
        ("not Guinea", None),
        ("It is not Guinea.", None),
        ("está no Guinea", 0),  # "in" in Portuguese
        ("It is not Guinea. Guinea it is", 0),
    ],
)
def test_texts(answer: str, expected: int | None) -> None:
    assert extract("text", answer, OPTIONS, OPTIONS) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("5", 0),
        ("- 5", 0),
        ("It is 5.", 0),
        ("5 %", 0),
        ("5.5", None),
        ("1.5", None),
        ("5,000", None),
        ("15:10", None),
        ("-5", None),
        ("−5", None),
        ("it is -5", None),
        ("2.5", 2),
        ("The value is 2.5.", 2),
        ("-15", 3),
    ],
)
def test_a_part_of_a_number_is_no_option(answer: str, expected: int | None) -> None:
    options = ("5", "10", "2.5", "-15")
    assert extract("text", answer, options, options) == expected


def test_options_that_differ_in_signs_only() -> None:
    options = ("a == b", "a = b", "!", "?")
    assert extract("text", "a = b", options, options) == 1
    assert extract("text", "?", options, options) == 3


WRAPPINGS = ("{}", " {}.", "({})", "**{}**", '"{}"', "{}\n", "Answer: {}", "Vastaus: {}", "`{}`")


@given(st.integers(0, 3), st.sampled_from(WRAPPINGS), st.sampled_from(["letter", "number", "text"]))
def test_whatever_wraps_it_the_candidate_is_found(index: int, wrapping: str, form: str) -> None:
    candidates = {"letter": LETTERS, "number": NUMBERS, "text": OPTIONS}[form]
    answer = wrapping.format(candidates[index])
    assert extract(form, answer, candidates, OPTIONS) == index  # type: ignore[arg-type]  # one of the literals


@given(st.text(max_size=60), st.sampled_from(["letter", "number", "text"]))
def test_any_text_is_one_candidate_or_none(answer: str, form: str) -> None:
    candidates = {"letter": LETTERS, "number": NUMBERS, "text": OPTIONS}[form]
    found = extract(form, answer, candidates, OPTIONS)  # type: ignore[arg-type]  # one of the literals
    assert found is None or 0 <= found < 4


def test_repetition_is_the_share_of_4_grams_seen_before() -> None:
    assert share_of_repetition([1, 2, 3]) is None
    assert share_of_repetition([1, 2, 3, 4]) == 0.0
    assert share_of_repetition([7] * 13) == pytest.approx(0.9)
    assert share_of_repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)
