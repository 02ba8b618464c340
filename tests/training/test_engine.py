from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from minilingua.core.errors import DataError
from minilingua.megatron_model.documents import pack_documents
from minilingua.megatron_model.megatron import parallel_state, quiet
from minilingua.training.data import PlannedSplit
from minilingua.training.engine import DivergenceError, Engine
from tests.training.engines import engine_of, gradients, opened, without_targets
from tests.training.workspace import Workspace, split_plan

NO_CLIPPING: dict[str, Any] = {"clip_grad": 1e9}


@pytest.fixture(autouse=True)
def _quietly() -> Iterable[None]:
    with quiet():
        yield


def replanned(split: PlannedSplit, packs: Iterable[int]) -> PlannedSplit:
    """The conversations of the first step in other packs."""
    last = int(split.plan.pack_offsets[split.plan.step_offsets[1]])
    refs = [split.plan.pack(number) for number in split.plan.packs_of_step(0)]
    order = [(ref.language, ref.row) for pack in refs for ref in pack]
    offsets = [0, *packs, last]
    return replace(split, plan=split_plan(order, offsets, [0, len(offsets) - 1]))


def assert_close(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6, msg=name)


def reference_gradients(engine: Engine) -> tuple[float, dict[str, Tensor]]:
    """The mean over all supervised tokens, each conversation alone, logits at every position."""
    split, total, count = engine.train, torch.zeros(()), 0
    for parameter in engine.model.parameters():
        parameter.grad = None
    for number in split.plan.packs_of_step(0):
        for ref in split.plan.pack(number):
            conversation = split.languages[ref.language].file[ref.row]
            tokens = torch.from_numpy(conversation.tokens.astype(np.int64))
            mask = torch.from_numpy(conversation.loss_mask[1:].astype(bool))
            documents = pack_documents([len(tokens)], with_slots=True)
            logits = engine.model(
                tokens[None], documents.positions[None], None, packed_seq_params=documents
            )[0]
            losses = functional.cross_entropy(logits[:-1], tokens[1:], reduction="none")
            total = total + losses[mask].sum()
            count += int(mask.sum())
    mean = total / count
    names, parameters = zip(*engine.model.named_parameters(), strict=True)
    return float(mean), dict(zip(names, torch.autograd.grad(mean, parameters), strict=True))


def test_packed_training_is_the_unpacked_reference(workspace: Workspace) -> None:
    loss, expected = reference_gradients(engine_of(workspace))
    engine = engine_of(workspace, **NO_CLIPPING)
    event = engine.train_step(1)
    assert event.loss == pytest.approx(loss, rel=1e-5)
    assert_close(gradients(engine), expected)
    norm = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
    assert event.grad_norm == pytest.approx(float(norm), rel=1e-4)


@pytest.mark.parametrize("micro_batch", [1, 3, 99])
def test_loss_and_gradients_do_not_depend_on_the_micro_batch(
    workspace: Workspace, micro_batch: int
) -> None:
    engines = [engine_of(workspace, micro_batch=size, **NO_CLIPPING) for size in (2, micro_batch)]
    events = [engine.train_step(1) for engine in engines]
    assert events[0].loss == pytest.approx(events[1].loss, rel=1e-6)
    assert replace(events[0], loss=0, grad_norm=0) == replace(events[1], loss=0, grad_norm=0)
    assert_close(gradients(engines[0]), gradients(engines[1]))


def test_loss_and_gradients_do_not_depend_on_the_packs(workspace: Workspace) -> None:
    split = opened(workspace.params)
    conversations = split.contents(0).conversations
    engines = [
        engine_of(workspace, train=replanned(split, packs), **NO_CLIPPING)
        for packs in ([], range(1, conversations), [3])
    ]
    events = [engine.train_step(1) for engine in engines]
    for engine, event in zip(engines[1:], events[1:], strict=True):
        assert event.loss == pytest.approx(events[0].loss, rel=1e-6)
        assert event.sample_digest == events[0].sample_digest
        assert_close(gradients(engine), gradients(engines[0]))


def test_a_micro_batch_without_targets_adds_nothing(workspace: Workspace) -> None:
    split = opened(workspace.params)
    some = without_targets(split, {0, 1})
    first, last = (int(split.plan.pack_offsets[index]) for index in (2, 4))
    refs = [ref for number in (2, 3) for ref in split.plan.pack(number)]
    rest = split_plan([(ref.language, ref.row) for ref in refs], [0, last - first], [0, 1])
    engines = [
        engine_of(workspace, train=train, micro_batch=1, **NO_CLIPPING)
        for train in (some, replace(split, plan=rest))
    ]
    events = [engine.train_step(1) for engine in engines]
    assert events[0].loss == pytest.approx(events[1].loss, rel=1e-6)
    assert events[0].supervised_tokens == events[1].supervised_tokens
    assert [event.packs_without_targets for event in events] == [2, 0]
    assert_close(gradients(engines[0]), gradients(engines[1]))


def test_a_step_without_targets_is_refused(workspace: Workspace) -> None:
    engine = engine_of(workspace, train=without_targets(opened(workspace.params), {0, 1, 2, 3}))
    with pytest.raises(DataError, match="step 1 has no supervised token"):
        engine.train_step(1)


def test_two_runs_are_the_same_bit_for_bit_also_with_dropout(workspace: Workspace) -> None:
    options: dict[str, Any] = {"hidden_dropout": 0.1, "attention_dropout": 0.1}
    runs = []
    for _ in range(2):
        engine = engine_of(workspace, **options)
        runs.append([engine.train_step(step) for step in (1, 2, 3)])
    assert runs[0] == runs[1]
    assert runs[0][2].loss != engine_of(workspace).train_step(1).loss


def test_dropout_of_a_step_does_not_depend_on_the_steps_before(workspace: Workspace) -> None:
    options: dict[str, Any] = {"hidden_dropout": 0.5, "lr": 1e-30, "weight_decay": 0.0}
    engine = engine_of(workspace, **options)
    losses = [engine.train_step(step).loss for step in (1, 2, 2, 1)]
    assert losses[0] == losses[3]
    assert losses[1] == losses[2]


def test_every_step_rank_and_stage_has_dropout_of_its_own(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(workspace, hidden_dropout=0.5)
    seeds: list[int] = []
    monkeypatch.setattr("minilingua.training.engine.seed_random_states", seeds.append)
    for step in (1, 2):
        engine.train_step(step)
    assert seeds[0] != seeds[1]
    seeds.clear()
    for step, rank, stage in product((1, 2), (0, 1), (0, 1)):
        for name, value in (("data_parallel_rank", rank), ("pipeline_model_parallel_rank", stage)):
            monkeypatch.setattr(parallel_state, f"get_{name}", lambda value=value, **_: value)
        engine._seed(step)
    assert len(set(seeds)) == 8


def test_bf16_trains_near_fp32_and_keeps_fp32_weights(workspace: Workspace) -> None:
    exact = [event.loss for event in map(engine_of(workspace).train_step, range(1, 5))]
    engine = engine_of(workspace, precision="bf16")
    rounded = [event.loss for event in map(engine.train_step, range(1, 5))]
    assert rounded == pytest.approx(exact, rel=0.02)
    weight = engine.model.embedding.word_embeddings.weight
    assert weight.dtype == torch.bfloat16
    assert weight.main_param.dtype == torch.float32


def test_losses_that_are_not_finite_stop_the_training(workspace: Workspace) -> None:
    engine = engine_of(workspace)
    with torch.no_grad():
        engine.model.embedding.word_embeddings.weight[5] = torch.nan
    with pytest.raises(DivergenceError, match="step 1: the loss is nan"):
        engine.train_step(1)


def test_gradients_that_are_not_finite_stop_the_training(workspace: Workspace) -> None:
    engine = engine_of(workspace)
    engine.model.decoder.final_layernorm.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(DivergenceError, match=r"step 1: the gradient's norm is (nan|inf)"):
        engine.train_step(1)


@pytest.mark.parametrize("recompute", ["selective", "full"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_recomputed_activations_change_no_bit(
    workspace: Workspace, recompute: str, dropout: float
) -> None:
    options: dict[str, Any] = {"hidden_dropout": dropout, "attention_dropout": dropout}
    plain = engine_of(workspace, **options)
    again = engine_of(workspace, recompute=recompute, **options)
    for step in (1, 2):
        assert again.train_step(step) == plain.train_step(step)
    for (name, ours), theirs in zip(
        again.model.named_parameters(), plain.model.parameters(), strict=True
    ):
        assert torch.equal(ours, theirs), name


def test_recomputing_runs_the_layers_twice(workspace: Workspace) -> None:
    calls: list[int] = []
    for recompute in ("none", "selective", "full"):
        engine = engine_of(workspace, recompute=recompute, micro_batch=99)
        seen: list[int] = []
        layer = engine.model.decoder.layers[0]
        layer.mlp.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        engine.train_step(1)
        calls.append(len(seen))
    assert calls == [1, 2, 2]
