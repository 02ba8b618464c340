from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minilingua.chat.encode import ConversationEncoder
from minilingua.core.errors import DataError
from minilingua.core.languages import LANGUAGES
from minilingua.core.records import Conversation, Role
from minilingua.core.tokenizer_files import TokenizerFiles, read_tokenizer_files
from minilingua.core.tokens import TokenizedConversation
from tests.chat.chatml import CHATML, write_chatml
from tests.chat.corpus import conversation, conversations

CORPUS = [item for language in LANGUAGES for item in conversations(language)]
TURNS = [
    conversation(("user", "a"), ("assistant", "b")),
    conversation(("system", "s"), ("user", " a\n"), ("assistant", "\n\nb ")),
    conversation(("user", "1"), ("assistant", "2"), ("user", "\n3"), ("assistant", "")),
]


@pytest.fixture(scope="module")
def files(workspace: Path) -> TokenizerFiles:
    return read_tokenizer_files(workspace / "models/tokenizer")


@pytest.fixture(scope="module")
def encoder(files: TokenizerFiles) -> ConversationEncoder:
    return ConversationEncoder(files)


def encoded(encoder: ConversationEncoder, item: Conversation) -> TokenizedConversation:
    outcome = encoder.encode(item)
    assert outcome.conversation is not None
    return outcome.conversation


def auto_tokenizer(path: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


def turns(item: Conversation) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in item.messages]


def targets(item: TokenizedConversation) -> list[list[int]]:
    """The supervised runs of a conversation."""
    edges = np.flatnonzero(np.diff(item.loss_mask, prepend=0, append=0))
    return [item.tokens[a:b].tolist() for a, b in edges.reshape(-1, 2)]


def test_ids_and_mask_equal_those_of_transformers(
    workspace: Path, encoder: ConversationEncoder
) -> None:
    reference = auto_tokenizer(workspace / "models/tokenizer")
    for item in CORPUS + TURNS:
        result = encoded(encoder, item)
        expected = reference.apply_chat_template(
            turns(item), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        assert result.tokens.tolist() == expected["input_ids"]
        if item.messages[-1].content:
            assert result.loss_mask.tolist() == expected["assistant_masks"]


@pytest.mark.parametrize("strip", [False, True])
def test_ids_equal_those_of_transformers_for_chatml(tmp_path: Path, strip: bool) -> None:
    trim = " | trim" if strip else ""
    write_chatml(tmp_path, CHATML.replace("message['content']", f"(message['content']{trim})"))
    encoder = ConversationEncoder(read_tokenizer_files(tmp_path))
    reference = auto_tokenizer(tmp_path)
    for item in conversations("en") + TURNS:
        expected = reference.apply_chat_template(turns(item), tokenize=True)["input_ids"]
        result = encoded(encoder, item)
        assert result.tokens.tolist() == expected
        for run in targets(result):
            assert run[-1] == reference.convert_tokens_to_ids("<|im_end|>")


@pytest.mark.parametrize("first", ["Yes", " yes", "\n\n", "é", "😀", "assistant", ""])
def test_what_the_template_puts_before_an_answer_is_no_target(tmp_path: Path, first: str) -> None:
    """By where each token of the rendered text begins: ``assistant`` and its line end are text."""
    write_chatml(tmp_path)
    files = read_tokenizer_files(tmp_path)
    encoder = ConversationEncoder(files)
    answers = [f"{first}{rest}" for rest in (" and no", "\nassistant\n", "1")]
    spoken: list[tuple[Role, str]] = []
    for answer in answers:
        spoken += [("user", "a?"), ("assistant", answer)]
    item = conversation(*spoken)
    rendered = encoder.template.render(item.messages)
    targets_at = []
    end = 0
    for answer in answers:
        begin = rendered.index("<|im_start|>assistant\n", end) + len("<|im_start|>assistant\n")
        end = begin + len(answer) + len("<|im_end|>")
        targets_at.append(range(begin, end))
    whole = files.tokenizer.encode(rendered, add_special_tokens=False)
    result = encoded(encoder, item)
    assert result.tokens.tolist() == whole.ids
    expected = [int(any(begin in span for span in targets_at)) for begin, _ in whole.offsets]
    assert result.loss_mask.tolist() == expected


def test_supervised_tokens_decode_to_the_answers(
    files: TokenizerFiles, encoder: ConversationEncoder
) -> None:
    for item in CORPUS:
        answers = [turn.content for turn in item.messages if turn.role == "assistant"]
        runs = targets(encoded(encoder, item))
        assert [files.tokenizer.decode(run[:-1]) for run in runs] == answers
        assert [files.tokenizer.id_to_token(run[-1]) for run in runs] == ["<|end|>"] * len(runs)


def test_all_assistant_turns_are_supervised_and_nothing_else(encoder: ConversationEncoder) -> None:
    item = conversation(
        ("system", "capital"), ("user", "capital"), ("assistant", "capital"),
        ("user", "capital"), ("assistant", "capital"),
    )  # fmt: skip
    result = encoded(encoder, item)
    first, second = targets(result)
    assert first == second
    # The same text is not a target where it is asked, nor is the end of the user's turn.
    assert result.tokens.tolist().count(first[-1]) == 5
    assert int(result.loss_mask.sum()) == 2 * len(first)


special_text = st.lists(
    st.sampled_from(
        ["<|end|>", "<|begin|>", "<|assistant|>", "<|pad|>", "<0x0A>", " ", "a", "Wie", "\n", "é"]
    ),
    min_size=1,
    max_size=8,
).map("".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(question=special_text, answer=special_text)
def test_text_that_spells_control_tokens_stays_text(
    files: TokenizerFiles, encoder: ConversationEncoder, question: str, answer: str
) -> None:
    result = encoded(encoder, conversation(("user", question), ("assistant", answer)))
    special = set(files.special_tokens().values())
    controls = [token for token in result.tokens.tolist() if token in special]
    names = [files.tokenizer.id_to_token(token) for token in controls]
    assert names == ["<|begin|>", "<|user|>", "<|end|>", "<|assistant|>", "<|end|>"]
    (run,) = targets(result)
    assert files.tokenizer.decode(run[:-1], skip_special_tokens=False) == answer


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (conversation(("user", "a")), "turns_do_not_alternate"),
        (conversation(("assistant", "a")), "turns_do_not_alternate"),
        (conversation(("system", "a")), "turns_do_not_alternate"),
        (conversation(("user", "a"), ("user", "b"), ("assistant", "c")), "turns_do_not_alternate"),
        (conversation(("user", "a"), ("assistant", "")), "no_supervised_tokens"),
    ],
)
def test_what_cannot_be_trained_on_is_dropped_with_its_reason(
    encoder: ConversationEncoder, item: Conversation, reason: str
) -> None:
    assert encoder.encode(item).conversation is None
    assert encoder.encode(item).reason == reason
    before, after = TURNS[:2]
    batch = encoder.encode_batch([before, item, after])
    assert list(batch.dropped) == [(item, reason)]
    assert list(batch.kept) == [before, after]  # its neighbours are untouched
    rows = np.split(batch.tokens, np.cumsum(batch.lengths)[:-1])
    masks = np.split(batch.loss_mask, np.cumsum(batch.lengths)[:-1])
    for kept, tokens, mask in zip(batch.kept, rows, masks, strict=True):
        alone = encoded(encoder, kept)
        assert tokens.tolist() == alone.tokens.tolist()
        assert mask.tolist() == alone.loss_mask.tolist()


def test_control_tokens_that_swallow_spaces_of_contents_are_refused(tmp_path: Path) -> None:
    bare = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
    write_chatml(tmp_path, bare)
    ConversationEncoder(read_tokenizer_files(tmp_path))
    file = tmp_path / "tokenizer.json"
    text = file.read_text()
    file.write_text(text.replace('"rstrip": false', '"rstrip": true'))
    with pytest.raises(DataError, match="do not bound contents cleanly"):
        ConversationEncoder(read_tokenizer_files(tmp_path))
