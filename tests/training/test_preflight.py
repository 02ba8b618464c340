import shutil
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch

from minilingua.core.errors import EXIT_BAD_INPUT, OutputError, ParamsError
from minilingua.core.events import StepEvent
from minilingua.core.plan import SplitPlan
from minilingua.llama_shapes import count_parameters
from minilingua.megatron_model.megatron import quiet
from minilingua.training.engine import Engine
from minilingua.training.layout import Layout
from minilingua.training.preflight import check_disk, largest_micro_batch, try_training
from tests.training.engines import engine_of, opened
from tests.training.workspace import VOCABULARY, Workspace


def test_the_largest_micro_batch_is_the_largest_of_all(workspace: Workspace) -> None:
    split = opened(workspace.params)
    plan = split.plan
    backwards = SplitPlan(  # packs, and their conversations, from last to first
        conversations=plan.conversations[::-1],
        pack_offsets=plan.pack_offsets[-1] - plan.pack_offsets[::-1],
        step_offsets=plan.step_offsets[-1] - plan.step_offsets[::-1],
    )
    splits = split, replace(split, plan=backwards)
    for split, (ranks, joined) in product(splits, ((1, 1), (1, 2), (2, 1), (1, 3), (3, 3))):
        sizes = {
            (step, batch.tokens.shape[1])
            for step in range(split.plan.steps)
            for rank in range(ranks)
            for batch in split.micro_batches(step, rank=rank, ranks=ranks, packs_joined=joined)
        }
        step, tokens = largest_micro_batch(split, ranks, joined)
        assert tokens == max(size for _, size in sizes)
        assert (step, tokens) in sizes


def test_the_micro_batch_with_the_most_logits_is_tried_too(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(workspace)
    split, joined = engine.train, workspace.params.train.micro_batch
    counts = {
        (step, batch.labels.shape[1])
        for step in range(split.plan.steps)
        for batch in split.micro_batches(step, rank=0, ranks=1, packs_joined=joined)
    }
    step, targets = largest_micro_batch(split, 1, joined, targets=True)
    assert targets == max(count for _, count in counts)
    assert (step, targets) in counts
    tried: list[int] = []
    train_step = Engine.train_step

    def noted(self: Engine, number: int) -> StepEvent:
        tried.append(number - 1)
        return train_step(self, number)

    monkeypatch.setattr(Engine, "train_step", noted)
    with quiet():
        found = try_training(engine, workspace.params, Layout(), (0, 0))
    assert {step, found.worst_step - 1} == set(tried)
    assert found.most_targets == targets


def test_it_tells_what_the_training_takes_and_writes_nothing(workspace: Workspace) -> None:
    before = sorted(path for path in workspace.root.rglob("*"))
    process = workspace.start("--preflight")
    assert process.wait() == 0, process.errors()
    said = process.errors()
    assert "parameters; one rank" in said
    assert "GiB are free" in said
    assert "with the largest micro batch" in said
    assert "12 steps of about" in said
    after = [path for path in workspace.root.rglob("*") if not path.name.startswith("worker-")]
    assert sorted(after) == before


def test_what_the_training_would_refuse_is_refused(workspace: Workspace) -> None:
    (workspace.root / "models/base/model.safetensors").write_bytes(b"")
    process = workspace.start("--preflight")
    assert process.wait() == EXIT_BAD_INPUT
    assert "train: error: models/base/model.safetensors: " in process.errors()


def test_a_disk_that_is_too_small_is_told_in_bytes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed, free = check_disk(workspace.params, VOCABULARY, Path("runs"))
    assert 0 < needed < free
    parameters = count_parameters(workspace.params.model, VOCABULARY)
    kept = workspace.params.train.keep_checkpoints
    # One more state is written before another goes; each has its weights, beside the best so far
    # and those of an evaluation that was just made.
    assert needed == parameters * ((kept + 1) * (12 + 4) + 2 * 4)
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=needed - 1))
    with pytest.raises(OutputError, match=rf"take up to {needed:,} bytes, {needed - 1:,} are free"):
        check_disk(workspace.params, VOCABULARY, Path("runs"))


def test_too_little_memory_names_the_micro_batch(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(workspace)

    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr("minilingua.training.engine.get_forward_backward_func", lambda: full)
    with (
        quiet(),
        pytest.raises(ParamsError, match=r"does not fit .* lower train\.micro_batch \(2\)"),
    ):
        try_training(engine, workspace.params, Layout(), (0, 0))
