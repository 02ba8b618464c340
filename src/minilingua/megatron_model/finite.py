"""Whether weights are numbers."""

import math

import torch
from torch import Tensor

from minilingua.core.errors import CheckpointError


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuses weights with NaN or infinity.

    Raises:
        CheckpointError: a value is not finite.
    """
    # A sum is finite only if all values are, and takes a fraction of the time of looking at each.
    if math.isfinite(float(tensor.sum(dtype=torch.float32))):
        return
    if not bool(torch.isfinite(tensor).all()):
        raise CheckpointError(
            f"{name} holds values that are not finite in {str(tensor.dtype).removeprefix('torch.')}"
        )
