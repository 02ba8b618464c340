"""What each of two ranks does to show that layouts agree: see test_layouts.py.

    usage: layout_program DIRECTORY, in a workspace; the one-rank state is in DIRECTORY/one

For every layout in turn, in one process group: train from the base, save, go on; take the same up
again from the state; take up the state that the layout before it has saved. Rank 0 writes what came
out.
"""

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed.tensor import DTensor

from minilingua.megatron_model.cross_entropy import cross_entropy
from minilingua.megatron_model.megatron import parallel_state, quiet
from minilingua.megatron_model.parallel import (
    context_share,
    initialise,
    seed_random_states,
    shut_down,
)
from minilingua.params import Params
from minilingua.params_file import load_params
from minilingua.training.base import read_base
from minilingua.training.checkpoint import Progress, load_checkpoint
from minilingua.training.data import open_split
from minilingua.training.engine import Engine, build_engine
from minilingua.training.evaluate import evaluate
from minilingua.training.inputs import read_inputs
from minilingua.training.layout import plan_layout
from minilingua.training.saving import save_checkpoint
from tests.training.engines import without_targets

SAVED_AT, LAST = 3, 5
_TENSORS = ("base", "weights")
KEY = "k" * 16
CUTS: dict[str, dict[str, Any]] = {
    "micro batches of two packs": {"micro_batch": 2},
    "micro batches of three packs": {"micro_batch": 3},
    "a rank without targets": {},
}
"""Other ways to cut the first step among two data-parallel ranks."""
UNTAUGHT = {1, 3}
"""Packs of the first step that the second of two data-parallel ranks gets."""
LAYOUTS: dict[str, dict[str, Any]] = {
    "data": {},
    "tensor": {"tensor": 2},
    "data, distributed optimizer": {"distributed_optimizer": True},
    "tensor, sequence": {"tensor": 2, "sequence": True},
    "pipeline": {"pipeline": 2},
    "data, distributed optimizer, overlap": {"distributed_optimizer": True, "overlap": True},
    "pipeline, distributed optimizer": {"pipeline": 2, "distributed_optimizer": True},
    "data, overlap": {"overlap": True},
    "fully sharded": {"fully_sharded": True},
    "context": {"context": 2},
    "context, distributed optimizer, overlap": {
        "context": 2,
        "distributed_optimizer": True,
        "overlap": True,
    },
}
"""Of two ranks, in the order of the ring: each takes up what the one before has saved, the first
one rank's."""
COMBINED: dict[str, dict[str, Any]] = {
    "tensor, sequence, context": {"tensor": 2, "sequence": True, "context": 2},
    "pipeline, data, distributed optimizer, overlap": {
        "pipeline": 2,
        "distributed_optimizer": True,
        "overlap": True,
    },
    "data, context, fully sharded": {"context": 2, "fully_sharded": True},
}
"""Of four ranks; they go on with the ring."""


def with_layout(params: Params, parallel: dict[str, Any], **train: Any) -> Params:
    layout = params.train.parallel.model_copy(update=parallel)
    changes = params.train.model_copy(update={"parallel": layout, **train})
    return params.model_copy(update={"train": changes})


def engine_here(params: Params) -> tuple[Engine, Any]:
    """The engine of this rank, and its validation split."""
    layout = plan_layout(params, distributed.get_world_size())
    inputs, base = read_inputs(params.model), read_base(params.model)
    opened = partial(
        open_split,
        inputs.plan,
        vocab_size=inputs.vocab_size,
        with_slots=True,
        multiple=layout.tensor if layout.sequence else 1,
        share=context_share(),
    )
    with quiet():
        engine = build_engine(
            params,
            base.tensors,
            vocab_size=base.vocab_size,
            backend="sdpa",
            train=opened("train"),
        )
    return engine, opened("validation")


def run_layout(params: Params, own: Path, before: Path | None) -> dict[str, Any]:
    engine, validation = engine_here(params)
    base = engine.weights()
    steps = [engine.train_step(step) for step in range(1, SAVED_AT + 1)]
    evaluation = evaluate(engine, validation, SAVED_AT, lambda: False)
    save_checkpoint(engine, Progress(step=SAVED_AT, history=()), own, KEY)
    weights = engine.weights()
    steps += [engine.train_step(step) for step in range(SAVED_AT + 1, LAST + 1)]
    rest = range(SAVED_AT + 1, LAST + 1)
    resumed = [again(params, own).train_step(SAVED_AT + 1)]
    taken_up = again(params, before) if before else None
    assert evaluation is not None
    parameters = list(engine.model.parameters())
    held = [p.to_local() if isinstance(p, DTensor) else p for p in parameters]
    return {
        "share_held": sum(p.numel() for p in held) / sum(p.numel() for p in parameters),
        "base": base,
        "weights": weights,
        "steps": [asdict(step) for step in steps],
        "evaluation": asdict(evaluation),
        "resumed": [asdict(step) for step in resumed],
        "taken_up": [asdict(taken_up.train_step(step)) for step in rest] if taken_up else [],
    }


def cut_otherwise(params: Params, name: str) -> dict[str, Any]:
    """The first step with the work cut in another way."""
    train = params.train.model_copy(update=CUTS[name])
    engine, _ = engine_here(params.model_copy(update={"train": train}))
    if name == "a rank without targets":
        engine = replace(engine, train=without_targets(engine.train, UNTAUGHT))
    return {"steps": [asdict(engine.train_step(1))]}


VOCABULARIES = (11, 5)
"""Tokens of which each of two ranks has up to 6 columns: the second one 5, or none."""


def half_precision_losses(vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    """This rank's share of the columns: losses, and gradients of their sum."""
    logits, labels = half_precision_logits(vocabulary)
    rank, width = parallel_state.get_tensor_model_parallel_rank(), 6
    first = rank * width
    real = min(max(vocabulary - first, 0), width)
    share = torch.zeros(len(labels), width, dtype=logits.dtype)
    share[:, :real] = logits[:, first : first + real]
    share.requires_grad_()
    losses = cross_entropy(
        share,
        labels,
        first=first,
        real=real,
        group=parallel_state.get_tensor_model_parallel_group(),
    )
    (gradient,) = torch.autograd.grad(losses.sum(), share)
    gradients = [torch.empty_like(gradient) for _ in range(2)]
    distributed.all_gather(gradients, gradient)
    return losses.detach(), torch.cat(gradients, dim=1)[:, :vocabulary]


def half_precision_logits(vocabulary: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(vocabulary)
    logits = torch.randn(7, vocabulary, generator=generator) * 5
    return logits.bfloat16(), torch.randint(0, vocabulary, (7,), generator=generator)


def again(params: Params, state: Path) -> Engine:
    engine, _ = engine_here(params)
    load_checkpoint(engine, state / f"step_{SAVED_AT:08d}")
    return engine


def main() -> None:
    directory = Path(sys.argv[1])
    torch.set_num_threads(1)
    params = load_params()
    initialise(params.seed)
    is_pair = distributed.get_world_size() == 2
    before = directory / ("one" if is_pair else list(LAYOUTS)[-1])
    for name, parallel in (LAYOUTS if is_pair else COMBINED).items():
        parallel_state.destroy_model_parallel()
        parallel_state.initialize_model_parallel(
            tensor_model_parallel_size=parallel.get("tensor", 1),
            pipeline_model_parallel_size=parallel.get("pipeline", 1),
            context_parallel_size=parallel.get("context", 1),
        )
        seed_random_states(params.seed)
        found = run_layout(with_layout(params, parallel), directory / name, before)
        _write(directory, name, found)
        before = directory / name
        if name == "tensor":
            shared = {str(size): half_precision_losses(size) for size in VOCABULARIES}
            _write(directory, "cross entropy", shared, tensors=VOCABULARIES)
        if name == "data":
            for cut in CUTS:
                _write(directory, cut, cut_otherwise(params, cut))
        if name == "data, distributed optimizer, overlap":
            half = with_layout(params, parallel, precision="bf16", hidden_dropout=0.1)
            found = run_layout(half, directory / "bf16", None)
            _write(directory, "bf16", found)
        if name == "fully sharded":
            half = with_layout(params, parallel, precision="bf16", hidden_dropout=0.1)
            found = run_layout(half, directory / "bf16, fully sharded", None)
            _write(directory, "bf16, fully sharded", found)
    shut_down()


def _write(
    directory: Path, name: str, found: dict[str, Any], tensors: Iterable[object] = _TENSORS
) -> None:
    if os.environ["RANK"] != "0":
        return
    kept = {str(key): found.pop(str(key)) for key in tensors if str(key) in found}
    torch.save(kept, directory / f"{name}.pt")
    (directory / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    with quiet():
        main()
