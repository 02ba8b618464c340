"""How context-parallel ranks share the documents of a micro batch.

    document    [ chunk 0 | chunk 1 | .. | chunk 2n - 1 ]     filled up to 2n equal chunks
    rank i      [ chunk i | chunk 2n - 1 - i ]                of every document

Causal attention costs more the later a chunk stands: an early and a late one make ranks equal. It
is the way that TransformerEngine cuts packed sequences (``thd_get_partitioned_indices``).

A query chunk sees its document from the beginning up to the chunk's own end. Without
TransformerEngine the ranks gather keys and values, as in A. Dubey et al., "The Llama 3 Herd of
Models", 2024, section 3.3.2. What fills a document up stands at its end, where no token sees it.

Shape legend: n ranks, t tokens of the whole micro batch, c query chunks, k keys of all chunks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextShare:
    """This rank's place among those that share the documents."""

    rank: int = 0
    ranks: int = 1

    @property
    def multiple(self) -> int:
        """What a document's length has to be a multiple of, in tokens."""
        return 1 if self.ranks == 1 else 2 * self.ranks

    def take(self, lengths: Sequence[int], wanted: Rows) -> tuple[Rows, Rows]:
        """Returns the rows of the micro batch that this rank holds, and where it holds others.

        Args:
            lengths: tokens of each document, multiples of ``multiple``.
            wanted: [r] rows of the micro batch.

        Returns:
            [t / n] rows, in this rank's order; and [r] the place among them of each wanted row, -1
            where another rank holds it.
        """
        rows = self.rows(np.asarray(lengths, dtype=np.int64))
        place = np.full(sum(lengths), -1)
        place[rows] = np.arange(len(rows))
        return rows, place[wanted]

    def rows(self, lengths: Rows) -> Rows:
        """Returns [t / n] the rows of the micro batch that this rank holds, in its order."""
        if self.ranks == 1:
            return np.arange(lengths.sum())
        sizes = np.repeat(lengths // self.multiple, 2)
        return _runs(self._begins(lengths), sizes)

    def chunks(self, lengths: Rows) -> tuple[Rows, Rows, Rows]:
        """Returns what each of this rank's query chunks sees of the gathered keys.

        Returns:
            Tokens of each chunk [c]; keys of each chunk [c]; and [k] the gathered row of each key,
            where the ranks' shares lie one after the other.
        """
        place = np.empty(int(lengths.sum()), dtype=np.int64)
        every = [
            ContextShare(rank=rank, ranks=self.ranks).rows(lengths) for rank in range(self.ranks)
        ]
        place[np.concatenate(every)] = np.arange(len(place))
        queries = np.repeat(lengths // self.multiple, 2)
        documents = np.repeat(np.cumsum(lengths) - lengths, 2)
        keys = self._begins(lengths) + queries - documents
        return queries, keys, place[_runs(documents, keys)]

    def _begins(self, lengths: Rows) -> Rows:
        """Returns [c] the first row of each of this rank's chunks."""
        documents = np.cumsum(lengths) - lengths
        size = lengths // self.multiple
        both = (documents + self.rank * size, documents + (self.multiple - 1 - self.rank) * size)
        return np.stack(both, axis=1).ravel()


ALONE = ContextShare()
"""Documents are held whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextChunks:
    """This rank's query chunks and the keys that each sees, for attention."""

    shapes: tuple[tuple[int, int], ...]
    """(tokens, keys) of each chunk."""
    key_rows: Tensor
    """[k] int64: the gathered row of each key, chunk after chunk."""
    cu_seqlens_q: Tensor
    """[c + 1] int32: where the tokens of each chunk begin."""
    cu_seqlens_k: Tensor
    """[c + 1] int32: where the keys of each chunk begin."""

    @classmethod
    def of(
        cls, lengths: Rows, share: ContextShare, device: torch.device | None
    ) -> "ContextChunks | None":
        """Returns the chunks of a rank, or None if it shares with nobody."""
        if share.ranks == 1:
            return None
        queries, keys, rows = share.chunks(lengths)
        return cls(
            shapes=tuple(zip(queries.tolist(), keys.tolist(), strict=True)),
            key_rows=to_device(rows, device),
            cu_seqlens_q=to_device(_bounds(queries), device),
            cu_seqlens_k=to_device(_bounds(keys), device),
        )


def to_device(values: npt.NDArray[Any], device: torch.device | None) -> Tensor:
    """Returns an array as a tensor on a device; None: on the CPU.

    To a GPU it is copied from pinned memory, without waiting: an ordinary copy waits for all that
    the GPU has still to do, so the micro batch before, and its time would count as that of data.
    """
    tensor = torch.from_numpy(values)
    if device is None or device.type == "cpu":
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def _bounds(sizes: Rows) -> npt.NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)


def _runs(begins: Rows, sizes: Rows) -> Rows:
    """Returns the numbers of runs, one after the other: begin, begin + 1, .."""
    return np.repeat(begins - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
