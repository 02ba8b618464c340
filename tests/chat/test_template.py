from pathlib import Path

import pytest

from minilingua.chat.template import ChatTemplate
from minilingua.core.errors import DataError
from minilingua.core.records import Message
from minilingua.core.tokenizer_files import read_tokenizer_files
from tests.chat.chatml import CHATML, write_chatml

ASKED = [Message(role="user", content="Why?")]
TOLD = [*ASKED, Message(role="assistant", content="So.")]


def chatml(path: Path, template: str, eos: str = "<|im_end|>") -> ChatTemplate:
    write_chatml(path, template, eos)
    return ChatTemplate(read_tokenizer_files(path))


def test_our_template_bounds_every_content_by_control_tokens(workspace: Path) -> None:
    template = ChatTemplate(read_tokenizer_files(workspace / "models/tokenizer"))
    assert template.render(TOLD) == "<|begin|><|user|>Why?<|end|><|assistant|>So.<|end|>"
    assert all(not joint.prefix and not joint.suffix for joint in template.joints.values())
    assert template.end_of_turn == 2


def test_the_generation_prompt_is_the_assistant_marker(workspace: Path) -> None:
    template = ChatTemplate(read_tokenizer_files(workspace / "models/tokenizer"))
    prompt = template.render(ASKED, add_generation_prompt=True)
    assert prompt == "<|begin|><|user|>Why?<|end|><|assistant|>"
    assert template.render(TOLD).startswith(prompt)


def test_plain_text_beside_control_tokens_belongs_to_the_content(tmp_path: Path) -> None:
    joint = chatml(tmp_path, CHATML).joints["user", "assistant"]
    assert (joint.suffix, joint.prefix) == ("", "assistant\n")


def test_a_template_that_strips_is_noticed(tmp_path: Path) -> None:
    stripping = CHATML.replace("message['content']", "message['content'] | trim")
    assert chatml(tmp_path, stripping).stripped == {"system", "user", "assistant"}
    assert chatml(tmp_path, CHATML).stripped == frozenset()


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for m in messages %}{{ m.content }}", "not a jinja template"),
        ("{{ raise_exception('no chat today') }}", "cannot render: no chat today"),
        ("{{ messages[0].content }}<|im_end|>", "does not render each content once"),
        (
            "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}",
            "puts no control token between start and user",
        ),
        (
            CHATML.replace("message['role'] + '\n'", "message['role'] + loop.index|string"),
            "differently from turn to turn",
        ),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(tmp_path: Path, template: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        chatml(tmp_path, template)
    assert "\n" not in str(caught.value)


def test_two_begin_tokens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"begins with '<\|im_start\|>' twice"):
        chatml(tmp_path, "<|im_start|><|im_start|>" + CHATML)


def test_an_end_of_turn_other_than_eos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'<\|im_end\|>', but eos_token .* '<\|endoftext\|>'"):
        chatml(tmp_path, CHATML, eos="<|endoftext|>")
