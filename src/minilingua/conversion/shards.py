"""Weights on disk in Hugging Face layout: one file, or several with an index, written in a stream.

    Megatron tensor ─► dtype, finite? ─► Hugging Face tensors ─► model-00001-of-00003.safetensors ..

One tensor of the source is in memory at a time, whatever the size of the files.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from torch import Tensor
from tqdm import tqdm

from minilingua.conversion.streamed import StreamedFile
from minilingua.llama_shapes import tensor_shapes
from minilingua.megatron_model.finite import check_finite
from minilingua.megatron_model.weight_map import map_rows, split_row
from minilingua.params import ModelParams

INDEX = "model.safetensors.index.json"
_PATTERN = "model{suffix}.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One file of weights."""

    file: str
    names: tuple[str, ...]
    """Hugging Face names, in the order of the model."""


def plan_shards(
    shapes: Mapping[str, tuple[int, ...]], bytes_per_value: int, max_bytes: int
) -> list[Shard]:
    """Returns which tensor goes into which file.

    A tensor larger than ``max_bytes`` gets a file of its own; the others keep their order.
    """
    split = split_state_dict_into_shards_factory(
        dict(shapes),
        get_storage_size=lambda shape: math.prod(shape) * bytes_per_value,
        filename_pattern=_PATTERN,
        max_shard_size=max_bytes,
    )
    return [
        Shard(file=file, names=tuple(names)) for file, names in split.filename_to_tensors.items()
    ]


def write_shards(
    directory: Path,
    source: Mapping[str, Tensor],
    model: ModelParams,
    vocab_size: int,
    *,
    dtype: torch.dtype,
    max_bytes: int,
) -> list[str]:
    """Writes the weights into a staged directory; returns the names of the files.

    Args:
        directory: where; must not hold weights yet.
        source: full, unpadded tensors by Megatron name; each is asked for once.
        model: their shape.
        vocab_size: rows of the embedding.
        dtype: type to write.
        max_bytes: of a file.

    Raises:
        CheckpointError: a value is not finite, in ``dtype``.
        OutputError: a file cannot be written.
    """
    shapes = tensor_shapes(model, vocab_size)
    shards = plan_shards(shapes, dtype.itemsize, max_bytes)
    shard_of = {name: shard for shard in shards for name in shard.names}
    total = sum(map(math.prod, shapes.values())) * dtype.itemsize
    files: dict[str, StreamedFile] = {}
    with (
        tqdm(total=total, desc="export", unit="B", unit_scale=True, disable=None) as progress,
        _one_thread(),
        ExitStack() as opened,
    ):
        for row in map_rows(model):
            stored = source[row.megatron].to(dtype)
            check_finite(row.megatron, stored)
            for name, tensor in split_row(row, stored, model).items():
                shard = shard_of[name]
                if shard.file not in files:
                    parts = {part: shapes[part] for part in shard.names}
                    files[shard.file] = StreamedFile(directory / shard.file, parts, dtype)
                    opened.callback(files[shard.file].close)
                files[shard.file].write(name, tensor)
                if files[shard.file].complete:
                    files[shard.file].close()
            progress.update(stored.nbytes)
    if len(shards) > 1:
        weight_map = {name: shard.file for shard in shards for name in shard.names}
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        # Not flushed to the disk by itself: neither are the weights, and that would wait for them.
        text = json.dumps(index, sort_keys=True, indent=2) + "\n"
        (directory / INDEX).write_text(text, encoding="utf-8", newline="\n")
    return [shard.file for shard in shards]


@contextmanager
def _one_thread() -> Iterator[None]:
    # A tensor is looked at just before it is written: to wake a second thread for each costs more
    # than it saves.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class StoredTensors(Mapping[str, Tensor]):
    """What an export holds of its source: the same tensors, rounded to its type, in fp32."""

    def __init__(self, source: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        self._source, self._dtype = source, dtype

    def __getitem__(self, name: str) -> Tensor:
        return self._source[name].to(self._dtype).float()

    def __iter__(self) -> Iterator[str]:
        return iter(self._source)

    def __len__(self) -> int:
        return len(self._source)
