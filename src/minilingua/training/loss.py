"""The loss: a sum over supervised tokens, divided once by those of the whole global batch.

    micro batch ─► losses [1, r] ─► sum, r ─┐
    micro batch ─► losses [1, r] ─► sum, r ─┴► gradients of the sums, over all ranks
                                               ─► / supervised tokens of the global batch

Dividing once, at the end, makes loss and gradients independent of how the global batch is cut into
micro batches and data-parallel ranks. Megatron does the division (``calculate_per_token_loss``).
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from minilingua.training.data import MicroBatch

LossParts = tuple[Tensor, Tensor, dict[str, Tensor]]


def forward_step(batches: Iterator[MicroBatch], model: Any) -> tuple[Tensor, Any]:
    """Runs one micro batch, as Megatron's schedules ask for it.

    Returns:
        The losses [1, r] in nats, and the function that reduces them.
    """
    batch = next(batches)
    losses = model(
        batch.tokens,
        batch.documents.positions.unsqueeze(0),
        None,
        labels=batch.labels,
        packed_seq_params=batch.documents,
    )
    return losses, sum_losses


def sum_losses(losses: Tensor) -> LossParts:
    """Returns the sum, its number of tokens, and what is logged: losses that nobody changes.

    The schedule divides its first value in place, so the log gets tensors of its own.
    """
    # Filled on the device: a copy to it would wait for the whole forward pass.
    count = torch.full((), losses.numel(), dtype=torch.int, device=losses.device)
    return losses.sum(), count, {"losses": losses.detach().flatten().clone()}
