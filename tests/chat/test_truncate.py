from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.chat.encode import ConversationEncoder
from minilingua.chat.truncate import truncate
from minilingua.core.records import Choice, Conversation, Role
from minilingua.core.tokenizer_files import TokenizerFiles, read_tokenizer_files
from minilingua.core.tokens import TokenizedConversation
from tests.chat.chatml import write_chatml
from tests.chat.corpus import conversation

WORDS = st.lists(
    st.sampled_from(["Helsinki", "Atény", "ήλιος", "яйце", "😀", "12", "\n", "a", " ", "Füße"]),
    min_size=1,
    max_size=40,
).map(" ".join)


@pytest.fixture(scope="module", params=["ours", "chatml"])
def files(
    request: pytest.FixtureRequest, workspace: Path, tmp_path_factory: pytest.TempPathFactory
) -> TokenizerFiles:
    directory = workspace / "models/tokenizer"
    if request.param == "chatml":
        directory = tmp_path_factory.mktemp("chatml")
        write_chatml(directory)
    return read_tokenizer_files(directory)


@pytest.fixture(scope="module")
def encoder(files: TokenizerFiles) -> ConversationEncoder:
    return ConversationEncoder(files)


def tokens_of(encoder: ConversationEncoder, item: Conversation) -> TokenizedConversation:
    found = encoder.encode(item).conversation
    assert found is not None
    return found


def answers(item: TokenizedConversation) -> list[list[int]]:
    """The supervised runs: every answer with the token that ends it."""
    edges = np.flatnonzero(np.diff(item.loss_mask, prepend=0, append=0))
    return [item.tokens[a:b].tolist() for a, b in edges.reshape(-1, 2)]


@settings(max_examples=60, deadline=None)
@given(
    users=st.lists(WORDS, min_size=1, max_size=3),
    system=st.none() | WORDS,
    limit=st.integers(10, 150),
)
def test_user_turns_alone_are_cut(
    encoder: ConversationEncoder, users: list[str], system: str | None, limit: int
) -> None:
    turns: list[tuple[Role, str]] = [] if system is None else [("system", system)]
    for number, user in enumerate(users):
        turns += [("user", user), ("assistant", f"answer {number}")]
    whole = conversation(*turns)
    before = tokens_of(encoder, whole)
    found = truncate(whole, limit, encoder)
    if found is None:  # then even the shortest user turns leave it too long, or are blank
        bare = [(role, "a" if role == "user" else content) for role, content in turns]
        shortest = len(tokens_of(encoder, conversation(*bare)).tokens)
        blank = any(not user[:1].strip() for user in users)
        assert shortest >= limit - 3 * len(users) or blank
        return
    cut, outcome = found
    assert outcome.conversation is not None
    after = outcome.conversation
    assert len(after.tokens) <= limit or len(before.tokens) <= limit
    assert answers(after) == answers(before)
    assert after.tokens.tolist() == tokens_of(encoder, cut).tokens.tolist()
    assert after.id == before.id
    for old, new in zip(whole.messages, cut.messages, strict=True):
        assert old.role == new.role
        assert new.content
        if old.role == "user":
            assert old.content.startswith(new.content)
            assert new == old or new.content == new.content.rstrip()
        else:
            assert old == new
    if len(before.tokens) <= limit:
        assert cut == whole


def test_control_tokens_stay(files: TokenizerFiles, encoder: ConversationEncoder) -> None:
    whole = conversation(("system", "s"), ("user", "one two " * 200), ("assistant", "b"))
    found = truncate(whole, 60, encoder)
    assert found is not None
    assert found[1].conversation is not None
    controls = set(files.special_tokens().values())
    kept, expected = (
        [token for token in item.tokens.tolist() if token in controls]
        for item in (found[1].conversation, tokens_of(encoder, whole))
    )
    assert kept == expected
    assert len(kept) >= 6


def test_the_longest_turns_are_cut_and_not_more_than_needed(encoder: ConversationEncoder) -> None:
    whole = conversation(
        ("user", "Which?"), ("assistant", "This."), ("user", "one two " * 300), ("assistant", "b")
    )
    found = truncate(whole, 200, encoder)
    assert found is not None
    cut, outcome = found
    assert cut.messages[0] == whole.messages[0]
    assert outcome.conversation is not None
    assert 196 <= len(outcome.conversation.tokens) <= 200


def test_answers_that_are_too_long_alone_are_left_to_be_dropped(
    encoder: ConversationEncoder,
) -> None:
    assert truncate(conversation(("user", "a b"), ("assistant", "b " * 99)), 50, encoder) is None


def test_multiple_choice_is_never_cut(encoder: ConversationEncoder) -> None:
    choice = Choice(
        question="?",
        options=("a", "b"),
        candidates=("a", "b"),
        answer=0,
        answer_format="text",
        instruction_language="en",
    )
    whole = replace(conversation(("user", "a " * 99), ("assistant", "a")), choice=choice)
    assert truncate(whole, 50, encoder) is None
