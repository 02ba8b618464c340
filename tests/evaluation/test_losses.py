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
    derangement,
    loss_scores,
    model_nats,
    open_split,
    passages_of,
    ratio,
    requests_of,
    unigram_nats,
    with_shuffled_prompts,
)
from minilingua.evaluation.model import log_likelihoods


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
    nats = model_nats(passages, log_likelihoods(model, requests_of(passages), 16, "test"))
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


def test_ratio_weights_tokens_and_takes_conversations_as_draws() -> None:
    nats, tokens = np.array([2.0, 9.0, 1.0]), np.array([1, 4, 1])
    value, stderr = ratio(nats, tokens)
    assert value == pytest.approx(2.0)
    # Residuals 0, 1, -1 over 6 tokens.
    assert stderr == pytest.approx(math.sqrt(3 / 2 * 2) / 6)
    assert ratio(np.array([3.0]), np.array([2])) == (1.5, None)


def test_equal_lengths_give_the_usual_standard_error_of_a_mean() -> None:
    nats = np.array([1.0, 2.0, 4.0, 4.5])
    _, stderr = ratio(nats * 5, np.array([5, 5, 5, 5]))
    assert stderr == pytest.approx(nats.std(ddof=1) / 2)


def test_scores_per_language_and_over_all() -> None:
    passages = [passage(0, "en", 1), passage(1, "en", 3), passage(2, "fi", 4)]
    scores = loss_scores("base", "loss", passages, np.array([1.0, 5.0, 2.0]))
    assert [(s.language, s.value, s.n) for s in scores] == [
        ("en", 1.5, 4),
        ("fi", 0.5, 4),
        ("all", 1.0, 8),
    ]
    assert {(s.metric, s.answer_format, s.instruction_language) for s in scores} == {
        ("nats_per_supervised_token", None, None)
    }


@pytest.mark.usefixtures("world")
def test_missing_tokens_name_their_stage() -> None:
    with pytest.raises(MissingInputError, match="`minilingua tokenize` makes it"):
        open_split("test", ["en", "sv"])
