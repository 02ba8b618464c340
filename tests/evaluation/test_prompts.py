"""Prompts as token ids: equal to the rendered template, safe against contents."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.records import Message
from minilingua.evaluation.prompts import PromptEncoder

from .conftest import BEGIN, END, LINES_TEMPLATE, SPECIAL, write_tokenizer

CHAT = (
    Message(role="system", content="be brief"),
    Message(role="user", content="which river?"),
    Message(role="assistant", content="the Torne"),
    Message(role="user", content="and which town\nis second?"),
)


@pytest.fixture(scope="module")
def lines_encoder(tmp_path_factory: pytest.TempPathFactory) -> PromptEncoder:
    return PromptEncoder(write_tokenizer(tmp_path_factory.mktemp("lines"), LINES_TEMPLATE))


def rendered(encoder: PromptEncoder, messages: tuple[Message, ...]) -> list[int]:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    ids: list[int] = encoder.tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_dict=False
    )
    return ids


@pytest.mark.parametrize("count", [1, 2, 4])
def test_prompt_equals_the_rendered_template(
    encoder: PromptEncoder, lines_encoder: PromptEncoder, count: int
) -> None:
    for some in (encoder, lines_encoder):
        prefix = some.request(CHAT[:count], ["x"]).prefix
        assert list(prefix) == rendered(some, CHAT[:count])


@settings(max_examples=60, deadline=None)
@given(
    content=st.lists(
        st.sampled_from([*SPECIAL, " ", "a", "Oulu", "\n", "ß", "<|"]), max_size=6
    ).map("".join)
)
def test_contents_never_make_control_tokens(encoder: PromptEncoder, content: str) -> None:
    request = encoder.request([Message(role="user", content=content)], ["x", content or "y"])
    control = [token for token in request.prefix if token < len(SPECIAL)]
    assert [SPECIAL[token] for token in control] == [
        "<|begin|>",
        "<|user|>",
        "<|end|>",
        "<|assistant|>",
    ]
    assert all(token >= len(SPECIAL) for branch in request.branches for token in branch)
    decoded = encoder.tokenizer.decode(request.prefix[2:-2])
    assert decoded == content


def test_a_template_may_strip_contents_and_put_text_around_them(
    lines_encoder: PromptEncoder,
) -> None:
    messages = (Message(role="user", content="  which <|end|> town? \n"),)
    request = lines_encoder.request(messages, ["Oulu"])
    text = lines_encoder.tokenizer.decode([*request.prefix, *request.branches[0]])
    assert text == "<|user|>\nwhich <|end|> town?<|end|>\n<|assistant|>\nOulu"
    assert request.prefix.count(END) == 1
    assert BEGIN not in request.prefix


def test_missing_tokenizer_names_its_stage(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="`minilingua tokenizer` makes it"):
        PromptEncoder(tmp_path)


def test_a_tokenizer_without_a_chat_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no chat template"):
        PromptEncoder(write_tokenizer(tmp_path, template=None))


def test_a_template_that_drops_a_message_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, "{{- messages[-1]['content'] + eos_token -}}")
    with pytest.raises(DataError, match="every message of a system/user conversation"):
        PromptEncoder(tmp_path).request(CHAT[:2], ["x"])


def test_a_damaged_tokenizer_is_one_line(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    for text in ("{}", "{", '{"added_tokens": 7}'):
        (tmp_path / "tokenizer.json").write_text(text)
        with pytest.raises(DataError, match="cannot read its tokenizer files: ") as error:
            PromptEncoder(tmp_path)
        assert "\n" not in str(error.value)
