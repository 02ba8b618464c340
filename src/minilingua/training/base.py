"""Reads ``models/base``: the Hugging Face model that training starts from, as Megatron tensors."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from minilingua.core.errors import CheckpointError
from minilingua.core.files import read_json, require
from minilingua.megatron_model.finite import check_finite
from minilingua.megatron_model.weight_map import hf_to_megatron
from minilingua.params import ModelParams
from minilingua.training.inputs import BASE, BASE_MADE_BY, read_vocab_size

_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """The start of the training."""

    tensors: dict[str, Tensor]
    """Full, unpadded weights by Megatron name."""
    vocab_size: int


def read_base(model: ModelParams, path: Path = BASE) -> BaseModel:
    """Reads the base model, whole or in shards.

    Raises:
        MissingInputError: config.json or a weight file is missing.
        CheckpointError: the weights are damaged, not finite, or have another shape than ``model``.
    """
    vocab_size = read_vocab_size(model, path)
    tensors: dict[str, Tensor] = {}
    for file in _weight_files(path):
        try:
            tensors |= load_file(file)
        except SafetensorError as error:
            raise CheckpointError(f"{file}: {error}; `dvc checkout` restores it") from error
    try:
        megatron = hf_to_megatron(tensors, model)
        for name, tensor in tensors.items():
            check_finite(name, tensor)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    rows = int(megatron["embedding.word_embeddings.weight"].shape[0])
    if rows != vocab_size:
        raise CheckpointError(
            f"{path}: config.json states vocab_size {vocab_size}, the embedding has {rows} rows"
        )
    return BaseModel(tensors=megatron, vocab_size=vocab_size)


def _weight_files(path: Path) -> list[Path]:
    if not (path / _INDEX).exists():
        return [require(path / "model.safetensors", made_by=BASE_MADE_BY)]
    try:
        shards = set(read_json(path / _INDEX)["weight_map"].values())
    except (KeyError, AttributeError) as error:
        raise CheckpointError(f"{path / _INDEX}: names no weight files") from error
    return [require(path / name, made_by=BASE_MADE_BY) for name in sorted(shards)]
