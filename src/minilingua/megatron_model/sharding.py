"""Cuts full tensors into a tensor-parallel rank's share, and joins the shares again.

    join      full tensor (weight map)         share of rank i of n
    copy      whole, or cut along one side     the i-th of n equal pieces, or the whole (norms)
    groups    query groups one after another   the i-th of n equal runs of groups
    stack     [gate; up]                       [i-th piece of gate; i-th piece of up]

Megatron marks a parameter with the side along which it is cut (``partition_dim``). Pieces are
copies of rows or columns, so cutting and joining give the same bits.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minilingua.megatron_model.weight_map import Join


def share_of(tensor: Tensor, like: nn.Parameter, join: Join, rank: int, ranks: int) -> Tensor:
    """Returns a rank's share of a full tensor.

    Args:
        tensor: the full tensor.
        like: the rank's parameter, for how Megatron cuts it.
        join: how the weight map makes it up.
        rank: tensor-parallel rank.
        ranks: number of tensor-parallel ranks.
    """
    side = _side(like, ranks)
    if side is None:
        return tensor
    if join == "stack":
        halves = tensor.chunk(2, dim=side)
        return torch.cat([half.chunk(ranks, dim=side)[rank] for half in halves], dim=side)
    return tensor.chunk(ranks, dim=side)[rank]


def join_shares(shares: Sequence[Tensor], like: nn.Parameter, join: Join) -> Tensor:
    """Returns the full tensor of the shares of all ranks; undoes ``share_of``."""
    side = _side(like, len(shares))
    if side is None:
        return shares[0]
    if join == "stack":
        halves = [share.chunk(2, dim=side) for share in shares]
        shares = [gate for gate, _ in halves] + [up for _, up in halves]
    return torch.cat(list(shares), dim=side)


def _side(parameter: nn.Parameter, ranks: int) -> int | None:
    if ranks == 1 or not getattr(parameter, "tensor_model_parallel", False):
        return None
    side: int = parameter.partition_dim  # type: ignore[attr-defined]  # set by Megatron
    return side
