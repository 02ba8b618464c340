"""The documents of one micro batch: where each begins, and how the CPU attention groups them.

    tokens of the micro batch   [ doc 0 | doc 1 | doc 2 | .. ]        t rows, one after the other
    slots                       documents of similar length, padded to the longest of their group

A micro batch is one row of tokens (Megatron's ``thd`` format). No document sees another one.

Shape legend: t tokens, s slots (tokens and padding), n documents and l slots of one group.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minilingua.megatron_model.context import ALONE, ContextChunks, ContextShare, to_device
from minilingua.megatron_model.megatron import PackedSeqParams

_SHORTEST_OF_GROUP = 0.8
"""A group's shortest document has at least this share of its longest one's tokens: a smaller share
means fewer, larger calls, a larger one less padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentSlots:
    """Where each token of the micro batch stands when documents are padded in groups."""

    shapes: tuple[tuple[int, int], ...]
    """(n, l) of each group; they lie one after the other in the slots."""
    row_of_slot: Tensor
    """[s] int64: the row in each slot; padding repeats its document's last row."""
    slot_of_row: Tensor
    """[t] int64: undoes ``row_of_slot``."""
    padding: Tensor
    """[p] int64: the slots that are padding."""


@dataclass(kw_only=True)
class PackedDocuments(PackedSeqParams):  # type: ignore[misc]  # Megatron is untyped
    """Megatron's packing parameters, plus what this package's own attention needs.

    Megatron hands the object to every layer as it is. Bounds are those of whole documents, also
    where context-parallel ranks share them; rows are those of this rank.
    """

    positions: Tensor
    """[t] int64, 0 at the first token of each document."""
    target_rows: Tensor | None = None
    """[r] int64: rows whose hidden state the output layer needs; None: all."""
    slots: DocumentSlots | None = None
    """For backend ``sdpa``, where this rank holds whole documents."""
    chunks: ContextChunks | None = None
    """For backends ``sdpa`` and ``varlen``, where it does not."""
    rope: tuple[Tensor, Tensor] | None = None
    """[t, 1, d] cosine and sine of each row's position; set by the model, for its layers."""


def pack_documents(
    lengths: Sequence[int],
    *,
    target_rows: npt.NDArray[np.int64] | None = None,
    with_slots: bool,
    share: ContextShare = ALONE,
    device: torch.device | None = None,
) -> PackedDocuments:
    """Describes documents that lie one after the other.

    Args:
        lengths: tokens of each document, all positive; multiples of ``share.multiple``.
        target_rows: [r] rows of this rank whose logits are wanted; None: all.
        with_slots: also groups the documents by length, as backend ``sdpa`` needs it.
        share: this rank's share of the documents.
        device: where the tensors go; None: CPU.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
    positions = np.arange(bounds[-1]) - np.repeat(bounds[:-1], sizes)
    chunks = ContextChunks.of(sizes, share, device)
    cumulative = to_device(bounds.astype(np.int32), device)
    longest = int(sizes.max())
    return PackedDocuments(
        qkv_format="thd",
        cu_seqlens_q=cumulative,
        cu_seqlens_kv=cumulative,
        max_seqlen_q=longest,
        max_seqlen_kv=longest,
        positions=to_device(positions[share.rows(sizes)], device),
        target_rows=None if target_rows is None else to_device(target_rows, device),
        slots=_slots(sizes, bounds, device) if with_slots and chunks is None else None,
        chunks=chunks,
    )


def _slots(
    sizes: npt.NDArray[np.int64], bounds: npt.NDArray[np.int64], device: torch.device | None
) -> DocumentSlots:
    order = np.argsort(-sizes, kind="stable")
    descending = -sizes[order]
    shapes: list[tuple[int, int]] = []
    rows: list[npt.NDArray[np.int64]] = []
    padding: list[npt.NDArray[np.bool_]] = []
    begin = 0
    while begin < len(order):
        longest = -int(descending[begin])
        end = int(np.searchsorted(descending, -_SHORTEST_OF_GROUP * longest, side="right"))
        members = order[begin:end, None]
        slot, last = np.arange(longest), sizes[members] - 1
        shapes.append((end - begin, longest))
        rows.append((bounds[members] + np.minimum(slot, last)).ravel())
        padding.append((slot > last).ravel())
        begin = end
    row_of_slot, is_padding = np.concatenate(rows), np.concatenate(padding)
    slot_of_row = np.empty(int(bounds[-1]), dtype=np.int64)
    slot_of_row[row_of_slot[~is_padding]] = np.flatnonzero(~is_padding)
    return DocumentSlots(
        shapes=tuple(shapes),
        row_of_slot=to_device(row_of_slot, device),
        slot_of_row=to_device(slot_of_row, device),
        padding=to_device(np.flatnonzero(is_padding), device),
    )
