"""Cross entropy of half-precision logits without an fp32 copy of them.

    logits [r, w] bf16 ─► chunks of rows in fp32 ─► logarithms of probabilities ─► losses
                          (again in the backward pass, straight into bf16 gradients)

With a vocabulary of 128k the logits are the largest tensor of a step: torch's function holds them
in fp32 twice more, this one a chunk of at most 128 MiB. Tensor-parallel ranks each hold a run of
the vocabulary and exchange three numbers a row: maximum, sum of exponentials and target. A rank
that holds all of it leaves them to torch's softmax, which on a GPU reads bf16 and writes fp32 in
one pass.

Shape legend: r target rows, w width: this rank's share of the padded vocabulary.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional

_CHUNK = 2**25
"""Logits of one chunk."""


class _WholeVocabulary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, real: int) -> Tensor:
        losses = logits.new_empty(logits.shape[:1], dtype=torch.float32)
        for rows in _chunks(logits):
            told = functional.log_softmax(logits[rows, :real], dim=-1, dtype=torch.float32)
            losses[rows] = told.gather(1, labels[rows, None]).squeeze(1).neg_()
        ctx.save_for_backward(logits, labels)
        ctx.real = real
        return losses

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        logits, labels = ctx.saved_tensors
        grad_logits = torch.zeros_like(logits)
        for rows in _chunks(logits):
            share = functional.softmax(logits[rows, : ctx.real], dim=-1, dtype=torch.float32)
            share[torch.arange(share.shape[0], device=share.device), labels[rows]] -= 1
            grad_logits[rows, : ctx.real] = share.mul_(grad[rows, None])
        return grad_logits, None, None


class _SharedVocabulary(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, labels: Tensor, first: int, real: int, group: Any
    ) -> Tensor:
        count = logits.shape[0]
        highest = logits.new_full((count,), -torch.inf, dtype=torch.float32)
        for rows in _chunks(logits) if real else ():
            highest[rows] = _columns(logits, rows, real).amax(dim=-1)
        _reduce(highest, group, distributed.ReduceOp.MAX)
        total = torch.empty_like(highest)
        for rows in _chunks(logits):
            shifted = _columns(logits, rows, real).sub_(highest[rows, None])
            total[rows] = shifted.exp_().sum(dim=-1)
        column, inside = _target(labels, first, real)
        target = logits.gather(1, column[:, None]).squeeze(1).float() * inside
        _reduce(total, group, distributed.ReduceOp.SUM)
        _reduce(target, group, distributed.ReduceOp.SUM)
        normaliser = highest.add_(total.log_())
        ctx.save_for_backward(logits, labels, normaliser)
        ctx.place = first, real
        return normaliser - target

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        logits, labels, normaliser = ctx.saved_tensors
        first, real = ctx.place
        column, inside = _target(labels, first, real)
        grad_logits = torch.zeros_like(logits)
        for rows in _chunks(logits) if real else ():
            share = _columns(logits, rows, real).sub_(normaliser[rows, None]).exp_()
            row = torch.arange(share.shape[0], device=share.device)
            share[row, column[rows]] -= inside[rows].to(share.dtype)
            grad_logits[rows, :real] = share.mul_(grad[rows, None])
        return grad_logits, None, None, None, None


_whole: Callable[[Tensor, Tensor, int], Tensor] = _WholeVocabulary.apply
_shared: Callable[[Tensor, Tensor, int, int, Any], Tensor] = _SharedVocabulary.apply


def cross_entropy(logits: Tensor, labels: Tensor, *, first: int, real: int, group: Any) -> Tensor:
    """Returns the losses [r] in nats, fp32.

    Args:
        logits: [r, w] of this rank, bf16 or fp16.
        labels: [r] int64 token ids of the whole vocabulary.
        first: token id of the first column.
        real: columns that are tokens; the others are padding.
        group: the ranks that hold the other columns, or None: this one holds all, from token 0.
    """
    if group is None:
        return _whole(logits, labels, real)
    return _shared(logits, labels, first, real, group)


def _chunks(logits: Tensor) -> Iterator[slice]:
    size = max(1, _CHUNK // max(1, logits.shape[1]))
    for begin in range(0, logits.shape[0], size):
        yield slice(begin, begin + size)


def _columns(logits: Tensor, rows: slice, real: int) -> Tensor:
    return logits[rows, :real].to(torch.float32, copy=True)


def _target(labels: Tensor, first: int, real: int) -> tuple[Tensor, Tensor]:
    """Returns each label's column, and whether this rank has it (otherwise column 0)."""
    column = labels - first
    inside = (column >= 0) & (column < real)
    return column.where(inside, 0), inside


def _reduce(value: Tensor, group: Any, operation: Any) -> None:
    if value.numel() > 0:
        distributed.all_reduce(value, op=operation, group=group)
