"""Core attention over packed documents, by three backends behind one choice.

    backend  runs on                      module
    te       GPU with TransformerEngine   Megatron's own (``TEDotProductAttention``)
    varlen   GPU, torch >= 2.10           ``VarlenAttention``: torch.nn.attention.varlen
    sdpa     anything; the reference      ``SdpaAttention``: documents grouped by length

Each is causal inside a document and blind to the others. ``sdpa`` is what the tests run; ``te``
and ``varlen`` need a GPU and have not been run on one yet.

``te`` rotates queries and keys by Megatron's fused kernel. The other two do it here, from tables
that the model makes once a micro batch: Megatron's unfused rotation splits the documents and
recomputes sines in every layer.

Shape legend: t tokens, a query heads, g key-value heads (groups), d head size.
"""

import importlib.util
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from minilingua.core.errors import ParamsError
from minilingua.megatron_model.documents import PackedDocuments
from minilingua.megatron_model.megatron import (
    AttnMaskType,
    MegatronModule,
    TransformerConfig,
    get_cuda_rng_tracker,
)

Backend = Literal["te", "varlen", "sdpa"]


def choose_backend(
    name: Literal["auto", "te", "varlen", "sdpa"],
    precision: Literal["fp32", "bf16"],
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
        "varlen": on_gpu and importlib.util.find_spec("torch.nn.attention.varlen") is not None,
        "sdpa": True,
    }
    if name == "auto":
        if precision == "fp32":  # the kernels of the other two are made for half precision
            return "sdpa"
        has["varlen"] = has["varlen"] and attention_dropout == 0
        return next(backend for backend, available in has.items() if available)
    if not has[name]:
        needs = "TransformerEngine" if name == "te" else "torch >= 2.10"
        raise ParamsError(f"params.yaml: train.attention: {name!r} needs a GPU and {needs}")
    if name != "sdpa" and precision == "fp32":
        raise ParamsError(
            f"params.yaml: train.attention: {name!r} works in bf16, train.precision is fp32"
        )
    return name


class _Rotate(torch.autograd.Function):
    """Rotary position embedding (Su et al., 2021), halves as in Llama: one pass each way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _rotate(grad, cos, -sin), None, None


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[t, heads, d] rotated by the angles of [t, 1, d]."""
    half = x.shape[-1] // 2
    out = x * cos
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:])
    return out


class _ToSlots(torch.autograd.Function):
    """Rows to slots; padding gets a copy of its document's last row and gives no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, row_of_slot: Tensor, slot_of_row: Tensor) -> Tensor:
        ctx.save_for_backward(slot_of_row)
        return x.index_select(0, row_of_slot)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slot_of_row,) = ctx.saved_tensors
        return grad.index_select(0, slot_of_row), None, None


class _FromSlots(torch.autograd.Function):
    """Slots back to rows, leaving the padding out."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, row_of_slot: Tensor, slot_of_row: Tensor, padding: Tensor
    ) -> Tensor:
        ctx.save_for_backward(row_of_slot, padding)
        return x.index_select(0, slot_of_row)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        row_of_slot, padding = ctx.saved_tensors
        return grad.index_select(0, row_of_slot).index_fill_(0, padding, 0), None, None, None


_rotated: Callable[[Tensor, Tensor, Tensor], Tensor] = _Rotate.apply
_to_slots: Callable[[Tensor, Tensor, Tensor], Tensor] = _ToSlots.apply
_from_slots: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor] = _FromSlots.apply


class _CoreAttention(MegatronModule, ABC):  # type: ignore[misc]  # Megatron is untyped
    """What both of our backends share: Megatron's interface, and the rotation."""

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: AttnMaskType,
        attention_type: str,
        **_: Any,
    ) -> None:
        super().__init__(config=config)
        del layer_number, attn_mask_type, attention_type
        self.dropout: float = config.attention_dropout

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *,
        attn_mask_type: AttnMaskType = None,
        attention_bias: Tensor | None = None,
        packed_seq_params: PackedDocuments,
    ) -> Tensor:
        """Returns [t, a d] from query [t, a, d] and key and value [t, g, d], not yet rotated."""
        del attention_mask, attn_mask_type, attention_bias
        assert packed_seq_params.rope is not None
        cos, sin = packed_seq_params.rope
        query, key = _rotated(query, cos, sin), _rotated(key, cos, sin)
        return self.attend(query, key, value, packed_seq_params)

    @abstractmethod
    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, documents: PackedDocuments
    ) -> Tensor:
        """Returns [t, a d] from rotated query [t, a, d] and key, and value [t, g, d]."""


class SdpaAttention(_CoreAttention):
    """``scaled_dot_product_attention`` on documents of similar length, padded at their ends.

    Causality hides the padding from every real query, so no mask is needed. Packs hold many short
    documents: one call a group instead of one a document is what makes this fast on a CPU.
    """

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, documents: PackedDocuments
    ) -> Tensor:
        """See the class."""
        slots = documents.slots
        assert slots is not None
        heads = query.shape[1], key.shape[1]
        sizes = [n * length for n, length in slots.shapes]
        grouped = [
            torch.split(_to_slots(x.flatten(1), slots.row_of_slot, slots.slot_of_row), sizes)
            for x in (query, key, value)
        ]
        dropout = self.dropout if self.training else 0.0
        # Tensor-parallel ranks hold different heads: their masks come from different states.
        with get_cuda_rng_tracker().fork() if dropout else nullcontext():
            outputs = [
                self._attend_group(q, k, v, shape, heads, dropout)
                for q, k, v, shape in zip(*grouped, slots.shapes, strict=True)
            ]
        return _from_slots(torch.cat(outputs), slots.row_of_slot, slots.slot_of_row, slots.padding)

    @staticmethod
    def _attend_group(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        shape: tuple[int, int],
        heads: tuple[int, int],
        dropout: float,
    ) -> Tensor:
        """[n l, a d], [n l, g d], [n l, g d] ─► [n l, a d] for a group of shape (n, l)."""
        queries, groups = heads
        q = query.view(*shape, queries, -1).transpose(1, 2)
        k, v = (x.view(*shape, groups, -1).transpose(1, 2) for x in (key, value))
        out = functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, is_causal=True, enable_gqa=queries != groups
        )
        return out.transpose(1, 2).reshape(shape[0] * shape[1], -1)


class VarlenAttention(_CoreAttention):
    """FlashAttention's variable-length kernel as torch ships it; bf16 on a GPU, no dropout."""

    def __init__(self, config: TransformerConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        if config.attention_dropout > 0:
            raise ParamsError(
                "train.attention_dropout: backend 'varlen' has no dropout; "
                "set it to 0, or train.attention to 'te' or 'sdpa'"
            )

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, documents: PackedDocuments
    ) -> Tensor:
        """See the class."""
        from torch.nn.attention import varlen

        options: dict[str, Any] = {}
        accepted = inspect.signature(varlen.varlen_attn).parameters
        if "enable_gqa" in accepted:
            options["enable_gqa"] = query.shape[1] != key.shape[1]
        else:
            share = query.shape[1] // key.shape[1]
            key, value = (x.repeat_interleave(share, dim=1) for x in (key, value))
        if "is_causal" in accepted:  # torch 2.10; later versions say it by the window
            options["is_causal"] = True
        else:
            options["window_size"] = (-1, 0)
        bounds, longest = documents.cu_seqlens_q, documents.max_seqlen_q
        out = varlen.varlen_attn(
            query, key, value.contiguous(), bounds, bounds, longest, longest, **options
        )
        assert isinstance(out, Tensor)
        return out.flatten(1)
