"""The weight map: which Hugging Face Llama tensors make up which Megatron tensor.

    Hugging Face                                Megatron (local layer spec)             join
    model.embed_tokens.weight                   embedding.word_embeddings.weight        copy
    model.layers.N.input_layernorm.weight       decoder.layers.N.input_layernorm.weight copy
    model.layers.N.self_attn.{q,k,v}_proj       .. self_attention.linear_qkv            groups
    model.layers.N.self_attn.o_proj             .. self_attention.linear_proj           copy
    model.layers.N.post_attention_layernorm     .. pre_mlp_layernorm                    copy
    model.layers.N.mlp.{gate,up}_proj           .. mlp.linear_fc1                       stack
    model.layers.N.mlp.down_proj                .. mlp.linear_fc2                       copy
    model.norm.weight                           decoder.final_layernorm.weight          copy
    lm_head.weight (untied only)                output_layer.weight                     copy

Both directions only copy, so a round trip gives the same bits. Tensors are full (no tensor or
pipeline parallel shards) and the vocabulary is not padded.

Shape legend: V vocabulary, h hidden size, f feed-forward size, a query heads, g query groups,
d head size (h / a).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from minilingua.core.errors import CheckpointError, did_you_mean
from minilingua.llama_shapes import tensor_shapes
from minilingua.params import ModelParams

Join = Literal["copy", "groups", "stack"]
"""copy: the same tensor. groups: [q of the group | k | v] for every query group in turn, as
Megatron's ``linear_qkv`` has it. stack: one above the other ([gate; up] for ``linear_fc1``)."""


@dataclass(frozen=True, slots=True)
class MapRow:
    """One Megatron tensor and what it is made of; ``{n}`` stands for the layer, from 0."""

    megatron: str
    hugging_face: tuple[str, ...]
    join: Join = "copy"
    tied: bool | None = None
    """None: always there. False: only in models whose output layer has a matrix of its own."""


_HF_LAYER = "model.layers.{n}."
_MEGATRON_LAYER = "decoder.layers.{n}."

WEIGHT_MAP: tuple[MapRow, ...] = (
    MapRow("embedding.word_embeddings.weight", ("model.embed_tokens.weight",)),
    MapRow(_MEGATRON_LAYER + "input_layernorm.weight", (_HF_LAYER + "input_layernorm.weight",)),
    MapRow(
        _MEGATRON_LAYER + "self_attention.linear_qkv.weight",
        tuple(f"{_HF_LAYER}self_attn.{name}_proj.weight" for name in "qkv"),
        "groups",
    ),
    MapRow(
        _MEGATRON_LAYER + "self_attention.linear_proj.weight",
        (_HF_LAYER + "self_attn.o_proj.weight",),
    ),
    MapRow(
        _MEGATRON_LAYER + "pre_mlp_layernorm.weight",
        (_HF_LAYER + "post_attention_layernorm.weight",),
    ),
    MapRow(
        _MEGATRON_LAYER + "mlp.linear_fc1.weight",
        (_HF_LAYER + "mlp.gate_proj.weight", _HF_LAYER + "mlp.up_proj.weight"),
        "stack",
    ),
    MapRow(_MEGATRON_LAYER + "mlp.linear_fc2.weight", (_HF_LAYER + "mlp.down_proj.weight",)),
    MapRow("decoder.final_layernorm.weight", ("model.norm.weight",)),
    MapRow("output_layer.weight", ("lm_head.weight",), tied=False),
)

TE_NAMES: Mapping[str, str] = {
    "input_layernorm.weight": "self_attention.linear_qkv.layer_norm_weight",
    "pre_mlp_layernorm.weight": "mlp.linear_fc1.layer_norm_weight",
}
"""Tensors of a layer that TransformerEngine keeps inside the linear layers that follow them."""

VOCABULARY_TENSORS: tuple[str, ...] = ("embedding.word_embeddings.weight", "output_layer.weight")
"""Megatron tensors whose first dimension is the vocabulary."""


def map_rows(model: ModelParams) -> list[MapRow]:
    """Returns the map of one model with the layers filled in."""
    rows: list[MapRow] = []
    for row in WEIGHT_MAP:
        if row.tied is False and model.tied_embeddings:
            continue
        layers = range(model.layers) if "{n}" in row.megatron else range(1)
        rows += [
            MapRow(
                row.megatron.format(n=layer),
                tuple(name.format(n=layer) for name in row.hugging_face),
                row.join,
                row.tied,
            )
            for layer in layers
        ]
    return rows


def megatron_shapes(model: ModelParams, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Returns name and shape of every Megatron tensor, in the order of the map."""
    parts = tensor_shapes(model, vocab_size)
    return {
        row.megatron: (
            sum(parts[name][0] for name in row.hugging_face),
            *parts[row.hugging_face[0]][1:],
        )
        for row in map_rows(model)
    }


def hf_to_megatron(tensors: Mapping[str, Tensor], model: ModelParams) -> dict[str, Tensor]:
    """Returns the Megatron tensors of a Hugging Face Llama model.

    Args:
        tensors: full tensors by Hugging Face name. A tied ``lm_head.weight`` may be there when it
            equals the embedding.
        model: the shape that the tensors must have.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape than ``model`` implies.
    """
    given = {name: t for name, t in tensors.items() if not name.endswith(".rotary_emb.inv_freq")}
    if model.tied_embeddings and "lm_head.weight" in given:
        head, embedding = given.pop("lm_head.weight"), given.get("model.embed_tokens.weight")
        if embedding is None or not torch.equal(head, embedding):
            raise CheckpointError(
                "lm_head.weight differs from model.embed_tokens.weight, "
                "but model.tied_embeddings is true"
            )
    vocab_size = _vocab_size(given, "model.embed_tokens.weight")
    check_shapes(given, tensor_shapes(model, vocab_size), "Hugging Face weights")
    return {
        row.megatron: _JOIN[row.join]([given[name] for name in row.hugging_face], model)
        for row in map_rows(model)
    }


def megatron_to_hf(tensors: Mapping[str, Tensor], model: ModelParams) -> dict[str, Tensor]:
    """Returns the Hugging Face tensors of a Megatron model; undoes ``hf_to_megatron``.

    Args:
        tensors: full, unpadded tensors by Megatron name (local layer spec).
        model: the shape that the tensors must have.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape than ``model`` implies.
    """
    vocab_size = _vocab_size(tensors, "embedding.word_embeddings.weight")
    check_shapes(tensors, megatron_shapes(model, vocab_size), "Megatron weights")
    result: dict[str, Tensor] = {}
    for row in map_rows(model):
        result |= split_row(row, tensors[row.megatron], model)
    return result


def split_row(row: MapRow, tensor: Tensor, model: ModelParams) -> dict[str, Tensor]:
    """Returns the Hugging Face tensors, contiguous, of one Megatron tensor.

    Args:
        row: of ``map_rows``.
        tensor: full and unpadded, of the row's shape.
        model: the shape of the model.
    """
    return dict(zip(row.hugging_face, _SPLIT[row.join](tensor, model), strict=True))


def check_shapes(
    tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]], what: str
) -> None:
    """Compares names and shapes.

    Raises:
        CheckpointError: they differ; the message begins with ``what`` and names the first tensor.
    """
    for name, shape in expected.items():
        if name not in tensors:
            unknown = [other for other in tensors if other not in expected]
            raise CheckpointError(f"{what}: {name} is missing{did_you_mean(name, unknown)}")
        if tuple(tensors[name].shape) != shape:
            raise CheckpointError(
                f"{what}: {name} has shape {list(tensors[name].shape)}, but model in params.yaml "
                f"implies {list(shape)}"
            )
    for name in tensors:
        if name not in expected:
            raise CheckpointError(
                f"{what}: {name} has no place in this model{did_you_mean(name, expected)}"
            )


def _vocab_size(tensors: Mapping[str, Tensor], name: str) -> int:
    if name not in tensors:
        raise CheckpointError(f"{name} is missing{did_you_mean(name, tensors)}")
    return int(tensors[name].shape[0])


def _join_groups(parts: list[Tensor], model: ModelParams) -> Tensor:
    """[a d, h], [g d, h], [g d, h] ─► [g (a/g + 2) d, h]."""
    by_group = [part.reshape(model.kv_groups, -1, model.hidden_size) for part in parts]
    return torch.cat(by_group, dim=1).reshape(-1, model.hidden_size)


def _split_groups(tensor: Tensor, model: ModelParams) -> list[Tensor]:
    """[g (a/g + 2) d, h] ─► [a d, h], [g d, h], [g d, h]."""
    head = model.hidden_size // model.attention_heads
    queries = model.attention_heads // model.kv_groups * head
    by_group = tensor.reshape(model.kv_groups, -1, model.hidden_size)
    parts = torch.split(by_group, [queries, head, head], dim=1)
    return [part.reshape(-1, model.hidden_size).contiguous() for part in parts]


_JOIN: dict[Join, Callable[[list[Tensor], ModelParams], Tensor]] = {
    "copy": lambda parts, _: parts[0],
    "groups": _join_groups,
    "stack": lambda parts, _: torch.cat(parts),
}
_SPLIT: dict[Join, Callable[[Tensor, ModelParams], list[Tensor]]] = {
    "copy": lambda tensor, _: [tensor],
    "groups": _split_groups,
    "stack": lambda tensor, _: [part.contiguous() for part in tensor.chunk(2)],
}
