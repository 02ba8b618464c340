"""Which core attention computes a training, of three backends.

    backend  runs on                      module
    te       GPU with TransformerEngine   Megatron's own (``TEDotProductAttention``)
    varlen   GPU, torch >= 2.10           ``attention.VarlenAttention``
    sdpa     anything; the reference      ``attention.SdpaAttention``

Each is causal inside a document and blind to the others. ``sdpa`` is what the tests run; ``te``
and ``varlen`` need a GPU and have not been run on one yet. Where context-parallel ranks share the
documents, ``te`` passes keys and values around; the other two gather them. ``te`` rotates queries
and keys by Megatron's fused kernel, the other two by themselves.
"""

import importlib.util
from typing import Literal

import torch

from minilingua.core.errors import ParamsError

Backend = Literal["te", "varlen", "sdpa"]
_FLASH_ATTENTION = (8, 0)
"""Compute capability that torch's FlashAttention needs."""


def choose_backend(
    name: Literal["auto", "te", "varlen", "sdpa"],
    precision: Literal["fp32", "bf16", "fp8"],
    attention_dropout: float = 0.0,
) -> Backend:
    """Returns the backend to use: the one asked for, or with ``auto`` the best that can run.

    ``auto`` leaves ``varlen`` out when attention has dropout, which that one does not have.

    Raises:
        ParamsError: the backend that was asked for cannot run here, or not in this precision.
    """
    on_gpu = torch.cuda.is_available()
    has: dict[Backend, bool] = {
        "te": on_gpu and importlib.util.find_spec("transformer_engine") is not None,
        "varlen": on_gpu
        and importlib.util.find_spec("torch.nn.attention.varlen") is not None
        and torch.cuda.get_device_capability() >= _FLASH_ATTENTION,
        "sdpa": True,
    }
    if precision == "fp8":
        if not has["te"] or name not in {"auto", "te"}:
            raise ParamsError(
                "params.yaml: train.precision: fp8 needs a GPU with TransformerEngine, and "
                f"train.attention auto or te; it is {name}"
                + (not has["te"])
                * ", and there is none"
            )
        return "te"
    if name == "auto":
        if precision == "fp32":  # the kernels of the other two are made for half precision
            return "sdpa"
        has["varlen"] = has["varlen"] and attention_dropout == 0
        return next(backend for backend, available in has.items() if available)
    if not has[name]:
        needs = (
            "a GPU and TransformerEngine"
            if name == "te"
            else "a GPU of the Ampere generation or later and torch >= 2.10"
        )
        raise ParamsError(f"params.yaml: train.attention: {name!r} needs {needs}")
    if name != "sdpa" and precision == "fp32":
        raise ParamsError(
            f"params.yaml: train.attention: {name!r} works in bf16, train.precision is fp32"
        )
    return name
