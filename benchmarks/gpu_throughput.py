"""Speed and memory of our training step, swept over packs and micro batches."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_checks import random_tensors
from benchmarks.gpu_clock import WARMUPS, Sweep, clocked, failure, rates, utilisation
from benchmarks.gpu_data import write_data
from minilingua.core.plan import read_plan
from minilingua.megatron_model.backends import Backend
from minilingua.megatron_model.layer_spec import row_multiple
from minilingua.params import Params
from minilingua.training.data import PlannedSplit, open_split
from minilingua.training.engine import Engine, build_engine
from minilingua.training.flops import StepWork

_PLANNED_STEPS = 3


def measure_ours(
    params: Params,
    sweep: Sweep,
    backend: Backend,
    device: torch.device,
    scratch: Path,
    in_time: Callable[[], bool],
) -> Iterator[dict[str, Any]]:
    """Yields one measurement a pack length and micro batch; out of memory is a result."""
    engine: Engine | None = None
    precision = params.train.precision
    side = f"ours, {backend}" + (f", {precision}" if precision != "bf16" else "")
    for length in sweep.pack_lengths:
        split = _split(scratch / f"packs-{length}", length, sweep, backend, precision, device)
        packs = max(1, sweep.tokens_per_step // length)
        for tokens in sweep.tokens_per_micro_batch:
            micro_batch = max(1, tokens // length)
            if micro_batch > packs:
                continue
            case = {"side": side, "pack": length, "packs_joined": micro_batch}
            if not in_time():
                yield {**case, "skipped": "no time left"}
                continue
            changed = params.model_copy(
                update={"train": params.train.model_copy(update={"micro_batch": micro_batch})}
            )
            if engine is None:
                try:
                    weights = random_tensors(params.model, sweep.vocab_size, device)
                    engine = build_engine(
                        changed, weights, vocab_size=sweep.vocab_size, backend=backend, train=split
                    )
                except Exception as error:  # noqa: BLE001 - told; the other sides go on
                    yield {**case, "failed": failure(error)}
                    return
                del weights
            engine = replace(engine, params=changed, train=split)
            yield {**case, **_measured(engine, sweep, device)}


def _measured(engine: Engine, sweep: Sweep, device: torch.device) -> dict[str, Any]:
    steps = engine.train.plan.steps
    turn = iter(range(10**6))
    outcome = clocked(
        lambda: engine.train_step(next(turn) % steps + 1), count := sweep.steps, device
    )
    if "seconds" not in outcome:
        return outcome
    timed = [engine.train.contents((WARMUPS + n) % steps) for n in range(count)]
    work = StepWork(
        tokens=sum(item.work.tokens for item in timed) // count,
        targets=sum(item.work.targets for item in timed) // count,
        squared_lengths=sum(item.work.squared_lengths for item in timed) // count,
    )
    tokens, useful, conversations = (
        sum(values) / count
        for values in zip(
            *((i.tokens, i.supervised_tokens, i.conversations) for i in timed), strict=True
        )
    )
    seconds = outcome["seconds"]
    return {
        **outcome,
        **rates(seconds, tokens, useful, conversations),
        **utilisation(engine.params, sweep.vocab_size, work, seconds, device),
    }


def _split(
    root: Path, length: int, sweep: Sweep, backend: Backend, precision: str, device: torch.device
) -> PlannedSplit:
    if not root.exists():
        write_data(
            root,
            vocab_size=sweep.vocab_size,
            sequence_length=length,
            steps=_PLANNED_STEPS,
            packs_per_step=max(1, sweep.tokens_per_step // length),
        )
    return open_split(
        read_plan(root / "data/plan"),
        "train",
        vocab_size=sweep.vocab_size,
        with_slots=backend == "sdpa",
        multiple=row_multiple(fp8=precision == "fp8", shared_by=1),
        device=device,
        tokens=root / "data/tokens",
    )
