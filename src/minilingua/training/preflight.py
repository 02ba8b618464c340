"""Before devices are spent: everything that a training needs, tried for a moment.

    plan, tokens, base, vocabulary, layout (as training checks them) ─► disk ─► model and optimizer
    ─► the step with the largest micro batch, twice, and that with the most logits
    ─► what the whole training will take

Out of memory shows here and not after hours: both are run with the optimizer's state in place. With
a large vocabulary the logits of a supervised token are as large as the activations of several
layers, so that the micro batch with the most of them can be the worst one without being the
largest. Nothing is written, no state and no event.
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from minilingua.core.errors import OutputError, ParamsError
from minilingua.llama_shapes import count_parameters
from minilingua.params import Params
from minilingua.training.data import PlannedSplit
from minilingua.training.engine import Engine
from minilingua.training.layout import Layout
from minilingua.training.memory import peak_memory_mb

STATE_BYTES, BEST_BYTES = 12, 4
"""Of a parameter: fp32 weight and two moments; weights alone."""
_NEW_WEIGHTS = 2
"""Weights of evaluations beside those that states select: the best so far, and one that is new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preflight:
    """What was found; times are of this machine."""

    parameters: int
    layout: str
    disk_needed: int
    """Bytes of states and weights."""
    disk_free: int
    worst_step: int
    """Step (from 1) with the largest micro batch."""
    worst_tokens: int
    """Tokens of that micro batch."""
    most_targets: int
    """Supervised tokens of the micro batch that has the most."""
    memory_mb: float
    """Largest memory of this rank."""
    steps: int
    tokens_per_step: int
    seconds_per_step: float
    """Of an average step."""

    def lines(self) -> list[str]:
        """Returns the report."""
        hours = self.steps * self.seconds_per_step / 3600
        disk = (
            f"disk: states and weights take up to {self.disk_needed / 2**30:.2f} GiB, "
            f"{self.disk_free / 2**30:.1f} GiB are free"
        )
        memory = (
            f"memory: {self.memory_mb:,.0f} MiB on this rank, with the largest micro batch "
            f"({self.worst_tokens:,} tokens, step {self.worst_step}) and the one with the most "
            f"logits ({self.most_targets:,} supervised tokens)"
        )
        length = (
            f"{self.steps:,} steps of about {self.tokens_per_step:,} tokens; about "
            f"{self.seconds_per_step:.2f} s a step, {hours:.2f} h without evaluations and saves"
        )
        return [f"{self.parameters:,} parameters; {self.layout}", disk, memory, length]


def check_disk(params: Params, vocab_size: int, runs: Path) -> tuple[int, int]:
    """Returns the bytes that a training needs, and those that are free.

    Raises:
        OutputError: it would not fit.
    """
    parameters = count_parameters(params.model, vocab_size)
    kept = params.train.keep_checkpoints + 1  # one is written before another is dropped
    needed = parameters * (kept * STATE_BYTES + (kept + _NEW_WEIGHTS) * BEST_BYTES)
    place = next(path for path in (runs, *runs.resolve().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise OutputError(
            f"{runs}: {kept} states of {STATE_BYTES} bytes a parameter and the best weights take "
            f"up to {needed:,} bytes, {free:,} are free; lower train.keep_checkpoints or make room"
        )
    return needed, free


def largest_micro_batch(
    split: PlannedSplit, ranks: int, packs_joined: int, *, targets: bool = False
) -> tuple[int, int]:
    """Returns the step (0-based) with the largest micro batch of any rank, and its tokens.

    Args:
        split: the plan and its tokens.
        ranks: number of data-parallel ranks.
        packs_joined: packs in one micro batch.
        targets: the one with the most supervised tokens, and how many those are.
    """
    rows = split.pack_rows(targets=targets)
    worst = (0, 0)
    for step in range(split.plan.steps):
        planned = split.plan.packs_of_step(step)
        packs = rows[planned.start : planned.stop]
        for rank in range(ranks):
            mine = packs[rank::ranks]
            if len(mine):
                sums = np.add.reduceat(mine, np.arange(0, len(mine), packs_joined))
                worst = max(worst, (int(sums.max()), -step))
    return -worst[1], worst[0]


def try_training(
    engine: Engine, params: Params, layout: Layout, disk: tuple[int, int]
) -> Preflight:
    """Runs the worst steps, the one of the largest micro batch twice, and tells what it takes.

    The engine's weights are no good afterwards.

    Raises:
        ParamsError: the device's memory is too small.
        DivergenceError: loss or gradient are not finite.
    """
    split = engine.train
    joined = params.train.micro_batch
    step, tokens = largest_micro_batch(split, engine.ranks, joined)
    logits_step, targets = largest_micro_batch(split, engine.ranks, joined, targets=True)
    try:
        engine.train_step(step + 1)
        began = time.perf_counter()
        event = engine.train_step(step + 1)
        seconds = time.perf_counter() - began
        if logits_step != step:
            engine.train_step(logits_step + 1)
    except torch.OutOfMemoryError as error:
        raise ParamsError(
            f"the largest micro batch ({tokens:,} tokens, step {step + 1}) or the one with the "
            f"most logits ({targets:,} targets, step {logits_step + 1}) does not fit into the "
            f"device's memory; lower train.micro_batch ({joined}), or share the model by "
            "train.parallel"
        ) from error
    per_step = split.totals().tokens / split.plan.steps
    return Preflight(
        parameters=count_parameters(params.model, engine.model.unpadded_vocab_size),
        layout=layout.explain(),
        disk_needed=disk[0],
        disk_free=disk[1],
        worst_step=step + 1,
        worst_tokens=tokens,
        most_targets=targets,
        memory_mb=peak_memory_mb(),
        steps=split.plan.steps,
        tokens_per_step=round(per_step),
        seconds_per_step=seconds / event.tokens * per_step,
    )
