from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.errors import DataError
from minilingua.core.languages import LANGUAGES
from minilingua.core.plan import PackPlan
from minilingua.core.seeding import content_id
from minilingua.core.tokens import TokenizedConversation, write_token_file
from minilingua.training.data import MicroBatch, PlannedSplit, open_split
from tests.training.engines import opened, without_targets
from tests.training.workspace import Workspace, split_plan

Conversations = Sequence[tuple[str, list[int], list[int]]]
"""Language, tokens, mask."""


def planned(
    root: Path, conversations: Conversations, packs: Sequence[int], steps: Sequence[int]
) -> PlannedSplit:
    """Conversations in the order given; offsets as in the plan's files."""
    order: list[tuple[str, int]] = []
    by_language: dict[str, list[TokenizedConversation]] = {}
    for number, (code, tokens, mask) in enumerate(conversations):
        rows = by_language.setdefault(code, [])
        order.append((code, len(rows)))
        rows.append(
            TokenizedConversation(
                id=f"{99 - number:016x}",  # descending: their order is the plan's
                tokens=np.array(tokens, dtype=np.uint32),
                loss_mask=np.array(mask, dtype=np.uint8),
            )
        )
    for code, rows in by_language.items():
        write_token_file(root / "train" / code, rows, vocab_size=100, tokenizer_digest="t")
    plan = PackPlan(sequence_length=999, splits={"train": split_plan(order, packs, steps)}, meta={})
    return open_split(plan, "train", vocab_size=100, with_slots=True, tokens=root)


def pairs(batch: MicroBatch) -> list[tuple[int, int]]:
    """(token, the token it has to predict) of every target row."""
    rows = batch.documents.target_rows
    assert rows is not None
    inputs = batch.tokens[0][rows].tolist()
    return list(zip(inputs, batch.labels[0].tolist(), strict=True))


def test_labels_are_the_next_tokens_of_the_same_conversation(tmp_path: Path) -> None:
    split = planned(
        tmp_path,
        [
            ("en", [1, 2, 3, 4], [0, 0, 1, 1]),
            ("fi", [5, 6, 7, 8, 9], [0, 1, 0, 1, 0]),  # what follows the last target is cut
            ("en", [10, 11], [1, 0]),  # a first token cannot be predicted: nothing is left
            ("fi", [12, 13], [1, 1]),
        ],
        packs=[0, 4],
        steps=[0, 1],
    )
    (batch,) = split.micro_batches(0, rank=0, ranks=1, packs_joined=1)
    assert batch.tokens.tolist() == [[1, 2, 3, 5, 6, 7, 12]]
    assert batch.documents.cu_seqlens_q.tolist() == [0, 3, 6, 7]
    assert batch.documents.positions.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert pairs(batch) == [(2, 3), (3, 4), (5, 6), (7, 8), (12, 13)]
    codes = [list(LANGUAGES)[index] for index in batch.language_of_row]
    assert codes == ["en", "en", "fi", "fi", "fi"]
    contents = split.contents(0)
    assert (contents.tokens, contents.supervised_tokens, contents.conversations) == (13, 5, 4)
    assert contents.sample_digest == content_id("".join(f"{99 - n:016x}" for n in range(4)))
    totals = split.totals()
    assert (totals.tokens, totals.supervised_tokens) == (13, 5)


@st.composite
def conversation_lists(draw: st.DrawFn) -> list[tuple[str, list[int], list[int]]]:
    size = st.integers(1, 8)
    return [
        (
            draw(st.sampled_from(["en", "fi"])),
            [100 * number + position for position in range(length)],
            draw(st.lists(st.integers(0, 1), min_size=length, max_size=length)),
        )
        for number, length in enumerate(draw(st.lists(size, min_size=1, max_size=9)))
    ]


@settings(max_examples=25, deadline=None)
@given(conversation_lists(), st.integers(1, 3), st.integers(1, 3), st.data())
def test_ranks_and_micro_batches_share_out_every_target_once(
    tmp_path_factory: pytest.TempPathFactory,
    conversations: list[tuple[str, list[int], list[int]]],
    ranks: int,
    joined: int,
    data: st.DataObject,
) -> None:
    conversations = [(c, [t % 100 for t in tokens], mask) for c, tokens, mask in conversations]
    cuts = data.draw(st.sets(st.integers(1, len(conversations))))
    packs = [0, *sorted(cuts - {len(conversations)}), len(conversations)]
    split = planned(
        tmp_path_factory.mktemp("tokens"), conversations, packs, steps=[0, len(packs) - 1]
    )
    found: list[tuple[int, int]] = []
    for rank in range(ranks):
        batches = list(split.micro_batches(0, rank=rank, ranks=ranks, packs_joined=joined))
        assert len(batches) == split.number_of_micro_batches(0, ranks=ranks, packs_joined=joined)
        for batch in batches:
            found += pairs(batch)
            assert batch.tokens.shape[1] == int(batch.documents.cu_seqlens_q[-1]) > 0
    expected = [
        (tokens[position], tokens[position + 1])
        for _, tokens, mask in conversations
        for position in range(len(tokens) - 1)
        if mask[position + 1]
    ]
    assert sorted(found) == sorted(expected)
    assert split.contents(0).supervised_tokens == len(expected)


def test_a_rank_without_packs_gets_a_batch_that_predicts_nothing(tmp_path: Path) -> None:
    split = planned(tmp_path, [("en", [1, 2], [0, 1])], packs=[0, 1], steps=[0, 1])
    (batch,) = split.micro_batches(0, rank=1, ranks=2, packs_joined=4)
    assert batch.tokens.shape == (1, 1)
    assert batch.labels.shape == (1, 0)
    assert pairs(batch) == []


def test_totals_are_the_sums_of_all_steps_repetitions_counted(workspace: Workspace) -> None:
    split = opened(workspace.params)
    steps = [split.contents(step) for step in range(split.plan.steps)]
    assert len(np.unique(split.plan.conversations)) < len(split.plan.conversations)
    totals = split.totals()
    assert totals.tokens == sum(step.tokens for step in steps)
    assert totals.supervised_tokens == sum(step.supervised_tokens for step in steps)


def test_steps_without_targets_are_found_before_any_is_trained(workspace: Workspace) -> None:
    split = opened(workspace.params)
    split.check_targets("train")
    bare = without_targets(split, set(split.plan.packs_of_step(2)))
    with pytest.raises(DataError, match=r"data/plan: step \d+ of train has no supervised token"):
        bare.check_targets("train")
    validation = opened(workspace.params, "validation")
    with pytest.raises(DataError, match="data/plan: step 1 of validation has no supervised token"):
        without_targets(validation, set(range(validation.plan.packs))).check_targets("validation")


def test_tokens_outside_the_vocabulary_are_refused(workspace: Workspace) -> None:
    split = opened(workspace.params)
    assert split.languages.keys() == {"en", "fi", "bg"}
    with pytest.raises(DataError, match="vocabulary has 9: tokens and base come from"):
        open_split(
            PackPlan(sequence_length=64, splits={"train": split.plan}, meta={}),
            "train",
            vocab_size=9,
            with_slots=True,
        )


def test_the_last_token_of_the_vocabulary_is_in_it(tmp_path: Path) -> None:
    split = planned(tmp_path, [("en", [1, 99], [0, 1])], packs=[0, 1], steps=[0, 1])
    assert split.contents(0).supervised_tokens == 1
    plan = PackPlan(sequence_length=9, splits={"train": split.plan}, meta={})
    with pytest.raises(DataError, match=r"holds token 99, but .* vocabulary has 99"):
        open_split(plan, "train", vocab_size=99, with_slots=True, tokens=tmp_path)


def test_a_plan_that_asks_for_rows_that_are_not_there_is_refused(tmp_path: Path) -> None:
    planned(tmp_path, [("en", [1, 2], [0, 1])], packs=[0, 1], steps=[0, 1])
    plan = PackPlan(
        sequence_length=9, splits={"train": split_plan([("en", 1)], [0, 1], [0, 1])}, meta={}
    )
    with pytest.raises(DataError, match="has 1 conversations, the plan asks for row 1"):
        open_split(plan, "train", vocab_size=100, with_slots=True, tokens=tmp_path)


def test_a_micro_batch_is_a_copy_of_its_own(workspace: Workspace) -> None:
    """Whoever changes one changes neither the tokens on disk nor the next one."""
    split = opened(workspace.params)
    everything = {"rank": 0, "ranks": 1, "packs_joined": 99}
    (first,) = split.micro_batches(0, **everything)
    kept = first.tokens.clone(), first.labels.clone(), first.documents.positions.clone()
    for tensor in (first.tokens, first.labels, first.documents.positions):
        tensor.zero_()
    (again,) = split.micro_batches(0, **everything)
    for found, expected in zip(
        (again.tokens, again.labels, again.documents.positions), kept, strict=True
    ):
        assert torch.equal(found, expected)
    language = next(iter(split.languages.values()))
    assert not language.tokens.flags.writeable
    assert not language.loss_mask.flags.writeable
