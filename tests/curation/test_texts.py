import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.curation.texts import fold, join_words, read_texts, tokens, words
from tests.curation.examples import example, question


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Blue", "BLUE"),
        ("a  b", " a\nb "),
        ("é", "e\u0301"),
        ("Straße", "STRASSE"),
        ("What is it?", "\ufeffWhat is\u200b it?"),
        ("Silbe", "Sil\u00adbe"),
    ],
)
def test_case_space_encoding_and_the_invisible_do_not_tell_texts_apart(
    first: str, second: str
) -> None:
    assert fold(first) == fold(second)


@pytest.mark.parametrize(("first", "second"), [("10²", "102"), ("ab", "a b"), ("a.", "a")])
def test_other_texts_stay_apart(first: str, second: str) -> None:
    assert fold(first) != fold(second)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("“Was ist das?”, fragt er – leise…", "was ist das fragt er leise"),
        ("¿Qué? L'acqua; (a) [b] {c}", "qué l acqua a b c"),
        ("2+2=4 50 % 10²", "2+2=4 50 % 10²"),
        ("Ποιος; «Εγώ»", "ποιοσ εγώ"),
        ("?!", ""),
    ],
)
def test_words_have_no_punctuation(text: str, expected: str) -> None:
    assert words(fold(text)).decode() == expected


@given(st.text())
def test_words_are_single_spaced_lines(text: str) -> None:
    found = words(fold(text))
    assert b"\n" not in found
    assert found == b" ".join(found.split())
    assert words(found.decode()) == found


def test_signs_tell_programs_apart() -> None:
    assert tokens("x[:n]") != tokens("x[n:]")
    assert words("x[:n]") == words("x[n:]")


def test_a_question_is_read_without_template_and_labels() -> None:
    texts = read_texts(question("Wer?", ("Ich", "Du"), instruction="Choose:"))
    assert (texts.prompt, texts.answer) == ("Wer?", "Ich")
    assert (texts.folded_prompt, texts.folded_answer) == ("wer?", "ich")
    assert len(texts.folded_turns) == 2


def test_all_turns_are_read() -> None:
    texts = read_texts(
        example(
            turns=(
                ("system", "S"),
                ("user", "U1"),
                ("assistant", "A1"),
                ("user", "U2"),
                ("assistant", "A2"),
            )
        )
    )
    assert texts.prompt == "S\nU1\nU2"
    assert texts.answer == "A1\nA2"
    assert texts.folded_answer == "a1\na2"
    assert read_texts(example(turns=())).prompt == ""


def test_joined_words_have_no_loose_space() -> None:
    assert join_words(b"a b", b"c") == b"a b c"
    assert join_words(b"", b"c") == b"c"
    assert join_words(b"a", b"") == b"a"
