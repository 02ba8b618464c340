"""Seeded random weights of a Llama.

Matrices are normal(0, std); the two projections that write to the residual stream of each layer
are scaled by 1 / sqrt(2 * layers), so that its variance does not grow with depth (GPT-2, Radford
et al., 2019); norms are one.
"""

import math

import numpy as np
import numpy.typing as npt

from minilingua.core.seeding import generator
from minilingua.llama_shapes import tensor_shapes
from minilingua.params import ModelParams

_RESIDUAL = ("self_attn.o_proj.weight", "mlp.down_proj.weight")


def random_tensors(
    model: ModelParams, vocab_size: int, *, std: float, seed: int
) -> dict[str, npt.NDArray[np.float32]]:
    """Returns name ─► weights, fp32; each tensor from a generator of its own, by its name."""
    residual_std = std / math.sqrt(2 * model.layers)
    tensors: dict[str, npt.NDArray[np.float32]] = {}
    for name, shape in tensor_shapes(model, vocab_size).items():
        if name.endswith("norm.weight"):
            tensors[name] = np.ones(shape, dtype=np.float32)
            continue
        scale = np.float32(residual_std if name.endswith(_RESIDUAL) else std)
        draw = generator(seed, "base", name).standard_normal(shape, dtype=np.float32)
        tensors[name] = np.multiply(draw, scale, out=draw)
    return tensors
