"""The validation loss, in total and per language."""

from collections.abc import Callable

import numpy as np
import torch

from minilingua.core.events import EvaluationEvent, LanguageLoss
from minilingua.core.languages import LANGUAGES
from minilingua.megatron_model.megatron import get_forward_backward_func
from minilingua.training.data import MicroBatch, PlannedSplit
from minilingua.training.engine import DivergenceError, Engine
from minilingua.training.loss import forward_step


def evaluate(
    engine: Engine, split: PlannedSplit, step: int, stop_requested: Callable[[], bool]
) -> EvaluationEvent | None:
    """Returns the losses over a whole split, or None if a stop was requested meanwhile.

    Dropout is off. Every rank evaluates its share of the packs; all return the same event.

    Args:
        engine: what to evaluate.
        split: a plan of one step.
        step: optimizer steps so far, for the event.
        stop_requested: asked after every micro batch, equally often on every rank.

    Raises:
        DivergenceError: a loss is not finite.
    """
    joined = engine.params.train.micro_batch
    share = {"ranks": engine.ranks, "packs_joined": joined}
    mine = split.micro_batches(0, rank=engine.rank, **share)
    rounds = split.number_of_micro_batches(0, rank=0, **share)  # rank 0 never has fewer
    sums = np.zeros((2, len(LANGUAGES)))  # losses, tokens
    engine.model.eval()
    try:
        with engine.settled():
            for _ in range(rounds):
                if (batch := next(mine, None)) is not None:
                    sums += _losses_by_language(engine, batch)
                if stop_requested():
                    return None
    finally:
        engine.model.train()
    losses, tokens = engine.sum_over_ranks(torch.from_numpy(sums).to(split.device)).cpu().numpy()
    if not np.isfinite(losses).all():
        raise DivergenceError(f"step {step}: the validation loss is not a finite number")
    return EvaluationEvent(
        step=step,
        loss=float(losses.sum() / tokens.sum()),
        supervised_tokens=int(tokens.sum()),
        languages={
            code: LanguageLoss(loss=float(loss / count), supervised_tokens=int(count))
            for code, loss, count in zip(LANGUAGES, losses, tokens, strict=True)
            if count > 0
        },
    )


def _losses_by_language(
    engine: Engine, batch: MicroBatch
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Returns [2, languages]: summed losses, and tokens; nothing before the last stage."""
    with torch.no_grad():
        logged = get_forward_backward_func()(
            forward_step_func=forward_step,
            data_iterator=iter([batch]),
            model=[engine.parallel_model],
            num_microbatches=1,
            seq_length=1,
            micro_batch_size=1,
            forward_only=True,
        )
    index, size = batch.language_of_row, len(LANGUAGES)
    if not logged:
        return np.zeros((2, size))
    losses = logged[0]["losses"].double().cpu().numpy()
    return np.stack(
        [
            np.bincount(index, weights=losses, minlength=size),
            np.bincount(index, minlength=size).astype(np.float64),
        ]
    )
