"""Losses against their definitions."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.errors import MissingInputError
from minilingua.core.seeding import generator
from minilingua.core.tokens import (
    TokenFile,
    TokenizedConversation,
    open_token_file,
    write_token_file,
)
from minilingua.evaluation.losses import (
    Passage,
    content_nats,
    derangement,
    loss_items,
    model_nats,
    open_split,
    passages_of,
    requests_of,
    text_bytes,
    unigram_nats,
    with_shuffled_prompts,
)
from minilingua.evaluation.model import log_likelihoods
from minilingua.evaluation.prompts import PromptEncoder
from minilingua.evaluation.result_log import ResultLog

from .conftest import LINES_TEMPLATE, plain_conversation, write_tokenizer


def token_file(path: Path, *rows: tuple[list[int], list[int]]) -> TokenFile:
    write_token_file(
        path,
        [
            TokenizedConversation(
                id=f"{number:016x}",
                tokens=np.array(tokens, dtype=np.uint32),
                loss_mask=np.array(mask, dtype=np.uint8),
            )
            for number, (tokens, mask) in enumerate(rows)
        ],
        vocab_size=10,
        tokenizer_digest="",
    )
    return open_token_file(path)


def passage(number: int, language: str = "en", tokens: int = 2) -> Passage:
    return Passage(
        id=f"{number:016x}",
        language=language,
        prompt=np.array([number, number + 1]),
        answer=np.array([number] * tokens),
        mask=np.ones(tokens, dtype=np.bool_),
    )


def test_passages_are_cut_at_the_first_supervised_token(tmp_path: Path) -> None:
    file = token_file(
        tmp_path / "en",
        ([2, 5, 6, 7, 8], [0, 0, 1, 0, 1]),
        ([2, 5, 6], [0, 0, 0]),  # nothing supervised: no passage
        ([2, 5, 6], [1, 1, 1]),  # the first token of all has no prediction
    )
    first, last = passages_of({"en": file})
    assert (first.prompt.tolist(), first.answer.tolist()) == ([2, 5], [6, 7, 8])
    assert first.mask.tolist() == [True, False, True]
    assert (last.prompt.tolist(), last.answer.tolist(), last.supervised) == ([2], [5, 6], 2)


def test_loss_equals_cross_entropy_of_transformers(model: Any, tmp_path: Path) -> None:
    rows = [
        ([2, 5, 6, 7, 8, 9], [0, 0, 1, 0, 1, 1]),
        ([2, 9, 1, 4], [0, 0, 0, 1]),
        ([2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 3], [0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1]),
    ]
    passages = passages_of({"en": token_file(tmp_path / "en", *rows)})
    nats = model_nats(
        passages, log_likelihoods(model, requests_of(passages), 16, "test", ResultLog())
    )
    for (tokens, mask), found in zip(rows, nats, strict=True):
        labels = [token if flag else -100 for token, flag in zip(tokens, mask, strict=True)]
        with torch.inference_mode():
            mean = model(input_ids=torch.tensor([tokens]), labels=torch.tensor([labels])).loss
        assert found == pytest.approx(float(mean) * sum(mask), rel=1e-5)


@given(n=st.integers(2, 60), seed=st.integers(0, 2**32))
def test_derangement_moves_everything(n: int, seed: int) -> None:
    order = derangement(n, generator(seed, "test"))
    assert sorted(order) == list(range(n))
    assert all(place != index for index, place in enumerate(order))


def test_shuffled_prompts_stay_in_their_language_and_are_seeded() -> None:
    passages = [passage(n, language) for n in range(9) for language in ("en", "fi")]
    passages.append(passage(50, "sv"))  # alone: there is no other prompt
    shuffled = with_shuffled_prompts(passages, seed=1)
    assert sorted((p.language, p.id) for p in shuffled) == sorted(
        (p.language, p.id) for p in passages if p.language != "sv"
    )
    original = {(p.language, p.id): p for p in passages}
    for item in shuffled:
        before = original[item.language, item.id]
        assert item.prompt.tolist() != before.prompt.tolist()
        assert item.answer.tolist() == before.answer.tolist()
    again = with_shuffled_prompts(passages, seed=1)
    assert [p.prompt.tolist() for p in again] == [p.prompt.tolist() for p in shuffled]
    other = with_shuffled_prompts(passages, seed=2)
    assert [p.prompt.tolist() for p in other] != [p.prompt.tolist() for p in shuffled]


def test_unigram_loss_by_hand(tmp_path: Path) -> None:
    training = [
        token_file(tmp_path / "en", ([1, 3, 3, 4], [0, 1, 1, 1])),
        token_file(tmp_path / "fi", ([1, 5, 3], [0, 0, 1])),
    ]
    # Supervised: 3 three times, 4 once. With one added to each of 6 ids: 3 has 4 of 10.
    test = token_file(tmp_path / "test", ([1, 2, 3, 4], [0, 0, 1, 1]), ([1, 0], [0, 1]))
    nats = unigram_nats(training, passages_of({"en": test}), vocab_size=6)
    assert nats.tolist() == pytest.approx([-math.log(0.4) - math.log(0.2), -math.log(0.1)])


def test_items_hold_totals_and_weights() -> None:
    passages = [passage(0, "en", 1), passage(1, "en", 3), passage(2, "fi", 4)]
    content = {passages[0].id: (math.log(2) * 3, 4), passages[1].id: (0.0, 0)}
    content[passages[2].id] = (math.log(2), 2)
    items = loss_items("base", "loss", passages, np.array([1.0, 5.0, 2.0]), content)
    assert [item.values["nats_per_supervised_token"] for item in items] == [
        (1.0, 1.0),
        (5.0, 3.0),
        (2.0, 4.0),
    ]
    assert items[0].values["bits_per_byte"] == pytest.approx((3.0, 4.0))
    assert "bits_per_byte" not in items[1].values  # says nothing: there is no byte to divide by
    assert items[2].values["bits_per_byte"] == pytest.approx((1.0, 2.0))
    assert "bits_per_byte" not in loss_items("base", "x", passages, np.zeros(3))[0].values


def test_ends_of_turns_are_no_text() -> None:
    item = Passage(
        id="a",
        language="en",
        prompt=np.array([2]),
        answer=np.array([5, 3, 6, 7, 3]),
        mask=np.array([True, True, False, True, True]),
    )
    values = np.array([-1.0, -2.0, -4.0, -8.0, -16.0])
    assert model_nats([item], [[values]]).tolist() == [27.0]
    assert content_nats([item], [[values]], end_of_turn=3).tolist() == [9.0]


def test_bytes_are_those_of_the_assistant(encoder: PromptEncoder, tmp_path: Path) -> None:
    conversation = plain_conversation(1, "Wer?", " käse ", "de")
    assert text_bytes([conversation], encoder) == {conversation.id: 7}
    stripping = PromptEncoder(write_tokenizer(tmp_path, LINES_TEMPLATE))
    assert text_bytes([conversation], stripping) == {conversation.id: 5}


@pytest.mark.usefixtures("world")
def test_missing_tokens_name_their_stage() -> None:
    with pytest.raises(MissingInputError, match="`minilingua tokenize` makes it"):
        open_split("test", ["en", "sv"])
