"""The validation loss, in total and per language, with standard errors.

A loss is a ratio: summed losses over supervised tokens, both of conversations. Its standard error
is that of a ratio estimator with conversations as clusters (Cochran, Sampling Techniques, 1977):

    s = sqrt(k / (k - 1) x sum over conversations of (losses - loss x tokens)^2) / tokens
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
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
    share = {
        "rank": engine.rank,
        "ranks": engine.ranks,
        "packs_joined": engine.params.train.micro_batch,
    }
    # Losses and tokens: of each language, then of each conversation.
    by_language = np.zeros((2, len(LANGUAGES)))
    by_conversation = np.zeros((2, len(split.plan.conversations)))
    engine.model.eval()
    try:
        with engine.settled():
            for batch in split.micro_batches(0, **share):
                losses = _losses(engine, batch)
                by_language += _sums(losses, batch.language_of_row, len(LANGUAGES))
                by_conversation += _sums(
                    losses, batch.conversation_of_row, by_conversation.shape[1]
                )
                if stop_requested():
                    return None
    finally:
        engine.model.train()
    shared = engine.sum_over_ranks(
        torch.from_numpy(np.concatenate([by_language, by_conversation], axis=1)).to(split.device)
    )
    by_language, by_conversation = np.split(shared.cpu().numpy(), [len(LANGUAGES)], axis=1)
    losses, tokens = by_language
    if not np.isfinite(losses).all():
        raise DivergenceError(f"step {step}: the validation loss is not a finite number")
    language_of = split.plan.language_indices()
    return EvaluationEvent(
        step=step,
        loss=float(losses.sum() / tokens.sum()),
        supervised_tokens=int(tokens.sum()),
        standard_error=standard_error(by_conversation),
        languages={
            code: LanguageLoss(
                loss=float(loss / count),
                supervised_tokens=int(count),
                standard_error=standard_error(by_conversation[:, language_of == index]),
            )
            for index, (code, loss, count) in enumerate(zip(LANGUAGES, losses, tokens, strict=True))
            if count > 0
        },
    )


def standard_error(sums: npt.NDArray[np.float64]) -> float | None:
    """Returns the standard error of a mean loss, or None of fewer than two conversations.

    Args:
        sums: [2, conversations] summed losses, and supervised tokens.
    """
    losses, tokens = sums[:, sums[1] > 0]
    if len(tokens) < 2:
        return None
    residuals = losses - losses.sum() / tokens.sum() * tokens
    scale = len(tokens) / (len(tokens) - 1)
    return float(np.sqrt(scale * np.square(residuals).sum()) / tokens.sum())


def _losses(engine: Engine, batch: MicroBatch) -> npt.NDArray[np.float64]:
    """Returns [r] the losses of the target rows; zeros before the last pipeline stage."""
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
    if not logged:
        return np.zeros(len(batch.language_of_row))
    losses: npt.NDArray[np.float64] = logged[0]["losses"].double().cpu().numpy()
    return losses


def _sums(
    losses: npt.NDArray[np.float64], index: npt.NDArray[np.int64], size: int
) -> npt.NDArray[np.float64]:
    """Returns [2, size]: summed losses, and tokens."""
    return np.stack(
        [
            np.bincount(index, weights=losses, minlength=size),
            np.bincount(index, minlength=size).astype(np.float64),
        ]
    )
