"""Readers resolve keys as each source means them and say why a row is of no use."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.sources.readers import instructions, multiple_choice
from minilingua.sources.readers.rows import Question, RejectedRowError, UnexpectedShapeError

distinct_options = st.lists(
    st.text(min_size=1).map(str.strip).filter(bool), min_size=2, max_size=8, unique=True
)


def forms(stem: str, labels: list[str], options: list[str], key: str) -> list[dict[str, Any]]:
    """The same question as EXAMS and ARC have published it."""
    pairs = [{"text": text, "label": label} for text, label in zip(options, labels, strict=True)]
    lists = {"text": options, "label": labels}
    with_para = lists | {"para": ["" for _ in options]}
    return [
        {"question": {"stem": stem, "choices": pairs}, "answerKey": key},
        {"question": {"stem": stem, "choices": with_para}, "answerKey": key},
        {"question": stem, "choices": lists, "answerKey": key},
    ]


@given(options=distinct_options, data=st.data(), labels=st.sampled_from(["ABCDEFGH", "12345678"]))
def test_a_key_points_at_the_option_with_its_label_in_every_form(
    options: list[str], data: st.DataObject, labels: str
) -> None:
    order = data.draw(st.permutations(labels[: len(options)]))
    answer = data.draw(st.integers(0, len(options) - 1))
    for values in forms("q", list(order), options, order[answer]):
        found = multiple_choice.keyed(values)
        assert found == Question(question="q", options=tuple(options), answer=answer)


@given(options=distinct_options, data=st.data())
def test_numbers_and_marks_point_at_the_same_option_as_keys(
    options: list[str], data: st.DataObject
) -> None:
    answer = data.draw(st.integers(0, len(options) - 1))
    expected = Question(question="q", options=tuple(options), answer=answer)
    candidates = {"question": "q", "candidate_answers": options, "label": answer}
    assert multiple_choice.numbered_candidates(candidates) == expected
    labels = [int(index == answer) for index in range(len(options))]
    marked = {"question": "q", "mc1_targets": {"choices": options, "labels": labels}}
    assert multiple_choice.labelled_targets(marked) == expected
    lettered = {"question": "q", "choices": options, "answer": answer}
    assert multiple_choice.lettered_columns(lettered) == expected


def test_option_columns_are_read_in_the_order_of_their_letters() -> None:
    values = {"option_c": "3", "option_a": "1", "option_d": "4", "option_b": "2"}
    found = multiple_choice.lettered_columns(values | {"question": " q ", "answer": 2})
    assert found == Question(question="q", options=("1", "2", "3", "4"), answer=2)


def test_a_wrong_option_that_stands_twice_is_shown_once() -> None:
    for values in forms("q", list("ABCD"), ["x", "y", "x ", "z"], "D"):
        found = multiple_choice.keyed(values)
        assert (found.options, found.options[found.answer]) == (("x", "y", "z"), "z")


def test_an_empty_option_is_left_out_and_the_row_stays() -> None:
    for values in forms("q", list("ABCD"), ["", "x", " ", "y"], "D"):
        found = multiple_choice.keyed(values)
        assert (found.options, found.answer) == (("x", "y"), 1)


def test_a_key_may_be_the_text_of_an_option() -> None:
    for values in forms("q", list("ABC"), ["one", "two", "3"], "two"):
        assert multiple_choice.keyed(values).answer == 1
    with pytest.raises(RejectedRowError):  # a label that there is not, whatever an option reads
        multiple_choice.keyed(forms("q", list("ABC"), ["one", "two", "3"], "3")[0])


@pytest.mark.parametrize(
    ("labels", "options", "key", "reason", "explanation"),
    [
        ("ABC", "xyz", "@", "key_outside_options", "answerKey '@' is not among the labels A, B, C"),
        ("ABC", "xyz", "1", "key_outside_options", "answerKey '1' is not among the labels A, B, C"),
        ("ABC", "xyz", "", "key_outside_options", "answerKey '' is not among the labels A, B, C"),
        ("AAB", "xyz", "A", "ambiguous_key", "answerKey 'A' stands twice in A, A, B"),
        ("A", "x", "A", "too_few_options", "1 option, at least 2 are needed"),
        ("ABC", ["x", " ", "z"], "B", "empty_answer", "the correct option is empty"),
        ("ABC", ["x", " ", ""], "A", "empty_option", "all options but the correct one are empty"),
        ("ABC", ["x", "y", " y"], "B", "duplicate_options", "correct option 'y' stands twice"),
    ],
)
def test_a_useless_question_is_rejected_with_its_reason(
    labels: str, options: str | list[str], key: str, reason: str, explanation: str
) -> None:
    for values in forms("q", list(labels), list(options), key):
        with pytest.raises(RejectedRowError) as caught:
            multiple_choice.keyed(values)
        assert (caught.value.reason, str(caught.value)) == (reason, explanation)


def test_an_empty_question_is_rejected() -> None:
    with pytest.raises(RejectedRowError) as caught:
        multiple_choice.keyed(forms(" \n", ["A", "B"], ["x", "y"], "A")[0])
    assert caught.value.reason == "empty_question"


@pytest.mark.parametrize("answer", [-1, 4, None])
def test_an_answer_beyond_the_options_is_rejected(answer: int | None) -> None:
    values = {"question": "q", "choices": ["a", "b", "c", "d"], "answer": answer}
    with pytest.raises(RejectedRowError, match=f"answer {answer} is not in 0 to 3"):
        multiple_choice.lettered_columns(values)


@pytest.mark.parametrize("labels", [[0, 0], [1, 1]])
def test_choices_that_are_not_marked_once_are_rejected(labels: list[int]) -> None:
    values = {"question": "q", "mc1_targets": {"choices": ["a", "b"], "labels": labels}}
    with pytest.raises(RejectedRowError, match="do not mark one choice"):
        multiple_choice.labelled_targets(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"question": {"choices": []}, "answerKey": "A"}, "question.stem is missing"),
        ({"question": "q", "answerKey": "A"}, "choices is missing"),
        ({"question": ["q"], "choices": [], "answerKey": "A"}, "question: expected text, found"),
        ({"question": "q", "choices": ["a", "b"], "answerKey": "A"}, "choices: expected objects"),
        (
            {"question": "q", "choices": {"text": ["a"], "label": ["A", "B"]}, "answerKey": "A"},
            "choices: 2 labels for 1 texts",
        ),
        (
            {"question": "q", "choices": {"text": "ab", "label": ["A", "B"]}, "answerKey": "A"},
            "choices.text: expected a list of texts, found 'ab'",
        ),
    ],
)
def test_another_shape_is_no_bad_row_but_a_bad_file(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UnexpectedShapeError, match=message):
        multiple_choice.keyed(values)


def test_a_letter_where_a_number_belongs_is_another_shape() -> None:
    with pytest.raises(UnexpectedShapeError, match="answer: expected a whole number, found 'B'"):
        multiple_choice.lettered_columns({"question": "q", "choices": ["a", "b"], "answer": "B"})


def test_an_input_follows_its_instruction_in_one_message() -> None:
    values = {"instruction": " Translate. ", "input": "Haus\n", "output": " house"}
    found = instructions.instruction_input_output(values)
    assert (found.prompt, found.response) == ("Translate.\n\nHaus", "house")
    for nothing in ("", None, "  "):
        found = instructions.instruction_input_output(values | {"input": nothing})
        assert found.prompt == "Translate."


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"inputs": "", "targets": "x"}, "empty_prompt"),
        ({"inputs": "x", "targets": " \n"}, "empty_answer"),
        ({"inputs": "x", "targets": None}, "empty_answer"),
    ],
)
def test_an_empty_side_is_rejected(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedRowError) as caught:
        instructions.inputs_targets(values)
    assert caught.value.reason == reason


def test_turns_alternate_between_user_and_assistant() -> None:
    found = instructions.alternating_turns({"conversations": ["a", " b\n", "c", "d"], "source": ""})
    assert found.turns == ("a", "b", "c", "d")
    assert instructions.alternating_turns({"conversations": ["a", "b"]}).later == ()


@pytest.mark.parametrize(
    ("turns", "reason", "explanation"),
    [
        ([], "empty_prompt", "conversations is empty"),
        (["a"], "unanswered_prompt", "conversations has 1 turns, the last is the user's"),
        (["a", "b", "c"], "unanswered_prompt", "conversations has 3 turns, the last is the user's"),
        (["a", "b", " ", "d"], "empty_prompt", "turn 3 is empty"),
        (["a", None], "empty_answer", "turn 2 is empty"),
    ],
)
def test_a_conversation_without_an_answer_is_rejected(
    turns: list[str | None], reason: str, explanation: str
) -> None:
    with pytest.raises(RejectedRowError) as caught:
        instructions.alternating_turns({"conversations": turns})
    assert (caught.value.reason, str(caught.value)) == (reason, explanation)


def test_conversations_of_another_shape_are_no_bad_row() -> None:
    with pytest.raises(UnexpectedShapeError, match="conversations: expected a list of texts, fou"):
        instructions.alternating_turns({"conversations": [{"from": "human", "value": "a"}]})


def test_half_a_surrogate_pair_rejects_its_row_only() -> None:
    values = {"inputs": "a", "targets": "b\ud83d"}
    with pytest.raises(RejectedRowError, match="targets holds half a surrogate pair at char") as e:
        instructions.inputs_targets(values)
    assert e.value.reason == "invalid_text"
    question = {"question": "q", "choices": ["a", "\udc00"], "answer": 0}
    with pytest.raises(RejectedRowError, match="choices holds half a surrogate pair"):
        multiple_choice.lettered_columns(question)
