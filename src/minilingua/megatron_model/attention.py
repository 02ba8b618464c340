"""Core attention over packed documents: the two backends that are ours (``backends`` chooses).

    varlen   ``VarlenAttention``: torch.nn.attention.varlen
    sdpa     ``SdpaAttention``: documents grouped by length

Where context-parallel ranks share the documents, both gather keys and values and look up what each
query chunk sees (``context``).

Both rotate queries and keys here, from tables that the model makes once a micro batch: Megatron's
unfused rotation splits the documents and recomputes sines in every layer.

Shape legend: t tokens, a query heads, g key-value heads (groups), d head size.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from minilingua.core.errors import ParamsError
from minilingua.megatron_model.context import ContextChunks
from minilingua.megatron_model.documents import PackedDocuments
from minilingua.megatron_model.megatron import (
    AttnMaskType,
    MegatronModule,
    TransformerConfig,
    get_cuda_rng_tracker,
    parallel_state,
    tensor_parallel,
)


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
        chunks = packed_seq_params.chunks
        if chunks is None:
            return self.attend(query, key, value, packed_seq_params)
        key, value = (_seen_by_chunks(x, chunks) for x in (key, value))
        return self.attend_chunks(query, key, value, chunks)

    @abstractmethod
    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, documents: PackedDocuments
    ) -> Tensor:
        """Returns [t, a d] from rotated query [t, a, d] and key, and value [t, g, d]."""

    @abstractmethod
    def attend_chunks(
        self, query: Tensor, key: Tensor, value: Tensor, chunks: ContextChunks
    ) -> Tensor:
        """Returns [t, a d] from query [t, a, d] and the keys and values [k, g, d] of its chunks.

        The last token of a chunk sees all of the chunk's keys, the one before all but one, ..
        """


def _seen_by_chunks(x: Tensor, chunks: ContextChunks) -> Tensor:
    """[t, g, d] of each context-parallel rank ─► [k, g, d]: all that this rank's chunks see."""
    whole: Tensor = tensor_parallel.gather_from_sequence_parallel_region(
        x.contiguous(), group=parallel_state.get_context_parallel_group()
    )
    return whole.index_select(0, chunks.key_rows)


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

    def attend_chunks(
        self, query: Tensor, key: Tensor, value: Tensor, chunks: ContextChunks
    ) -> Tensor:
        """See the class; one call a chunk: this is the reference, no fast way."""
        dropout = self.dropout if self.training else 0.0
        with get_cuda_rng_tracker().fork() if dropout else nullcontext():
            outputs = [
                self._attend_chunk(q, k, v, dropout)
                for q, k, v in zip(
                    torch.split(query, [tokens for tokens, _ in chunks.shapes]),
                    torch.split(key, [keys for _, keys in chunks.shapes]),
                    torch.split(value, [keys for _, keys in chunks.shapes]),
                    strict=True,
                )
            ]
        return torch.cat(outputs)

    @staticmethod
    def _attend_chunk(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        """[t, a, d], [k, g, d], [k, g, d] ─► [t, a d] for one chunk."""
        q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (query, key, value))
        tokens, keys = len(query), len(key)
        causal = torch.ones(tokens, keys, dtype=torch.bool, device=q.device).tril(keys - tokens)
        out = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=causal, dropout_p=dropout, enable_gqa=q.shape[1] != k.shape[1]
        )
        return out.squeeze(0).transpose(0, 1).flatten(1)

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
        bounds, longest = documents.cu_seqlens_q, documents.max_seqlen_q
        return self._attend(query, key, value, (bounds, bounds), (longest, longest))

    def attend_chunks(
        self, query: Tensor, key: Tensor, value: Tensor, chunks: ContextChunks
    ) -> Tensor:
        """See the class; the kernel aligns a chunk's causal mask with the end of its keys."""
        most = max(tokens for tokens, _ in chunks.shapes), max(keys for _, keys in chunks.shapes)
        bounds = chunks.cu_seqlens_q, chunks.cu_seqlens_k
        return self._attend(query, key, value, bounds, most)

    @staticmethod
    def _attend(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bounds: tuple[Tensor, Tensor],
        longest: tuple[int, int],
    ) -> Tensor:
        """[t, a, d], [k, g, d], [k, g, d] ─► [t, a d]; bounds and longest: of tokens, of keys."""
        from torch.nn.attention import varlen

        options: dict[str, Any] = {}
        accepted = _parameters(varlen.varlen_attn)
        if "enable_gqa" in accepted:
            options["enable_gqa"] = query.shape[1] != key.shape[1]
        else:
            share = query.shape[1] // key.shape[1]
            key, value = (x.repeat_interleave(share, dim=1) for x in (key, value))
        if "is_causal" in accepted:  # torch 2.10; later versions say it by the window
            options["is_causal"] = True
        else:
            options["window_size"] = (-1, 0)
        out = varlen.varlen_attn(query, key, value.contiguous(), *bounds, *longest, **options)
        assert isinstance(out, Tensor)
        return out.flatten(1)


@cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    """Returns the names of a function's parameters; asked for in every layer."""
    return frozenset(inspect.signature(function).parameters)
