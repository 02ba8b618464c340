"""What training left in ``models/megatron``: full fp32 tensors by Megatron name, and whence."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from minilingua.core.errors import CheckpointError
from minilingua.core.files import require
from minilingua.params import ModelParams

MADE_BY = "minilingua train"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """``model.json``; keys beyond these are left alone."""

    model: ModelParams
    vocab_size: int
    """Rows of the embedding."""
    selected_step: int
    """Optimizer step of the weights."""
    validation_loss: float
    """Mean over the supervised validation tokens after that step, nats."""
    tokenizer_digest: str
    """SHA-256 of the tokenizer that the training tokens were made with."""


def read_trained(path: Path) -> TrainedModel:
    """Reads ``model.json``.

    Raises:
        MissingInputError: it is missing.
        CheckpointError: a key is missing or of another type.
    """
    file = require(path / "model.json", MADE_BY)
    adapter: TypeAdapter[Any] = TypeAdapter(TrainedModel)
    try:
        trained: TrainedModel = adapter.validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        raise CheckpointError(f"{file}: {key}: {first['msg']}") from error
    return trained


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors by Megatron name.

    Raises:
        MissingInputError: ``model.safetensors`` is missing.
        CheckpointError: it is truncated or no safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = require(path / "model.safetensors", MADE_BY)
    try:
        return load_file(file)
    except SafetensorError as error:
        raise CheckpointError(f"{file}: {error}; `dvc checkout` restores it") from error
