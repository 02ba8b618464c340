"""Full tensors of a checkpoint in Megatron's distributed format, whatever layout wrote it.

    names in the checkpoint                               our names (``weight_map``)
    decoder.layers.mlp.linear_fc2.weight [layers, h, f]   decoder.layers.N.mlp.linear_fc2.weight
    .. self_attention.linear_qkv.layer_norm_weight        decoder.layers.N.input_layernorm.weight
    .. mlp.linear_fc1.layer_norm_weight                   decoder.layers.N.pre_mlp_layernorm.weight

Tensor, pipeline and data parallel ranks each wrote their part with its place in the whole tensor
(``ShardedTensor`` of megatron.core.dist_checkpointing), and torch's reader of that format, which
Megatron's own loader uses too, puts the parts together. A layer is loaded when one of its tensors
is asked for, and kept until another one's is. Where the training was in mixed precision the
optimizer's fp32 weights are read, not the rounded ones of the model.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed._shard._utils import narrow_tensor_by_index
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner import LoadPlan, LoadPlanner, ReadItem
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

from minilingua.core.errors import CheckpointError
from minilingua.megatron_model.weight_map import VOCABULARY_TENSORS, megatron_shapes
from minilingua.params import ModelParams

_LAYER = re.compile(r"decoder\.layers\.(\d+)\.(.+)")
_NORMS = {
    "input_layernorm.weight": "self_attention.linear_qkv.layer_norm_weight",
    "pre_mlp_layernorm.weight": "mlp.linear_fc1.layer_norm_weight",
}
"""Local layer spec ─► name on disk, which is TransformerEngine's."""
_MASTER_PREFIXES = ("optimizer.state.fp32_param.", "optimizer.state.param.")
"""Of the fp32 weights that an optimizer (plain or distributed) keeps beside rounded ones."""


class ShardedTensors(Mapping[str, Tensor]):
    """Unpadded fp32 tensors by Megatron name; reading needs one process, however many wrote."""

    def __init__(self, path: Path, model: ModelParams, vocab_size: int) -> None:
        """Reads the index of a checkpoint.

        Args:
            path: directory of the checkpoint, written by this platform.
            model: shape of the model.
            vocab_size: rows of the embedding without padding.

        Raises:
            CheckpointError: the index cannot be read, or a tensor is missing or has another shape
                than ``model`` implies.
        """
        self._path = path
        self._model = model
        self._shapes = megatron_shapes(model, vocab_size)
        self._vocab_size = vocab_size
        try:
            self._reader = FileSystemReader(path)
            metadata = self._reader.read_metadata()
            self._reader.set_up_storage_reader(metadata, is_coordinator=True)
        except (OSError, EOFError, ValueError) as error:
            raise CheckpointError(f"{path}: its index cannot be read: {error}") from error
        self._index: dict[str, Any] = {
            key: entry
            for key, entry in metadata.state_dict_metadata.items()
            if isinstance(entry, TensorStorageMetadata)
        }
        self._layer: tuple[int | None, dict[str, Tensor]] = (None, {})
        for name, shape in self._shapes.items():
            self._check(name, shape)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._shapes:
            raise KeyError(name)
        match = _LAYER.fullmatch(name)
        if match is None:
            return self._load([name])[name]
        number = int(match[1])
        if self._layer[0] != number:
            names = [
                other for other in self._shapes if other.startswith(f"decoder.layers.{number}.")
            ]
            self._layer = (number, self._load(names))
        return self._layer[1][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def _key(self, name: str) -> tuple[str, int | None]:
        """Returns the name in the checkpoint, and the place along its axis of layers if it has one.

        Layers of a kind are one tensor there, or, in models of unlike layers, one each.
        """
        match = _LAYER.fullmatch(name)
        if match is None:
            return self._master(name), None
        inner = _NORMS.get(match[2], match[2])
        alone = self._master(f"decoder.layers.{match[1]}.{inner}")
        if alone in self._index:
            return alone, None
        return self._master(f"decoder.layers.{inner}"), int(match[1])

    def _master(self, key: str) -> str:
        return next((p + key for p in _MASTER_PREFIXES if p + key in self._index), key)

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        key, layer = self._key(name)
        if key not in self._index:
            raise CheckpointError(f"{self._path}: {key} is missing")
        found = tuple(self._index[key].size)
        if layer is not None:
            shape = (self._model.layers, *shape)
        padded = name in VOCABULARY_TENSORS and found[0] >= shape[0] and found[1:] == shape[1:]
        if found != shape and not padded:
            raise CheckpointError(
                f"{self._path}: {key} has shape {list(found)}, the model of this run has "
                f"{list(shape)}"
            )

    def _load(self, names: list[str]) -> dict[str, Tensor]:
        """Returns full tensors, all in one read of the checkpoint."""
        plan = _Parts()
        for name in names:
            plan.add(name, *self._key(name), self._index)
        try:
            self._reader.read_data(LoadPlan(plan.items), plan).wait()
        except (OSError, EOFError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"{self._path}: cannot be read: {reason}") from error
        loaded = plan.tensors
        for name in set(names) & set(VOCABULARY_TENSORS):
            loaded[name] = loaded[name][: self._vocab_size]
        return loaded


class _Parts(LoadPlanner):
    """Tells torch's reader which pieces of the checkpoint go where."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        """Our name ─► what is filled."""
        self.items: list[ReadItem] = []
        self._targets: dict[str, Tensor] = {}  # name in the checkpoint ─► what is filled

    def add(self, name: str, key: str, layer: int | None, index: Mapping[str, Any]) -> None:
        """Asks for a whole tensor, or for the one layer of it."""
        size = torch.Size(index[key].size)
        offsets = torch.Size([0] * len(size))
        if layer is not None:
            offsets, size = torch.Size([layer, *offsets[1:]]), torch.Size([1, *size[1:]])
        target = torch.empty(size, dtype=torch.float32)
        chunk = ChunkStorageMetadata(offsets=offsets, sizes=size)
        self.items += create_read_items_for_chunk_list(key, index[key], [chunk])
        self._targets[key] = target
        self.tensors[name] = target if layer is None else target[0]

    def resolve_tensor(self, read_item: ReadItem) -> Tensor:
        """Returns where a piece is to be copied."""
        target = self._targets[read_item.dest_index.fqn]
        return narrow_tensor_by_index(target, read_item.dest_offsets, read_item.lengths)

    def commit_tensor(self, read_item: ReadItem, tensor: Tensor) -> None:
        """Has nothing to do: the piece was copied into its place."""

    def load_bytes(self, read_item: ReadItem, value: Any) -> None:
        """Is never called: only tensors are asked for."""

    def set_up_planner(self, *_: Any, **__: Any) -> None:
        """Has nothing to do; as the next three, it is for loads by several processes."""

    def create_local_plan(self) -> LoadPlan:
        """Returns the plan."""
        return LoadPlan(self.items)

    def create_global_plan(self, global_plan: list[LoadPlan]) -> list[LoadPlan]:
        """Returns the plans as they are."""
        return global_plan

    def finish_plan(self, central_plan: LoadPlan) -> LoadPlan:
        """Returns the plan as it is."""
        return central_plan
