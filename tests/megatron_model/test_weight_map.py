import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.errors import CheckpointError
from minilingua.llama_shapes import count_parameters, tensor_shapes
from minilingua.megatron_model.build import build_model
from minilingua.megatron_model.weight_map import (
    hf_to_megatron,
    megatron_shapes,
    megatron_to_hf,
)
from minilingua.params import ModelParams
from tests.megatron_model.conftest import VOCABULARY, tiny_model
from tests.megatron_model.llama import llama_tensors, random_llama


@st.composite
def models(draw: st.DrawFn) -> ModelParams:
    groups = draw(st.integers(1, 4))
    heads = groups * draw(st.integers(1, 3))
    return tiny_model(
        tied=draw(st.booleans()),
        hidden_size=heads * 2 * draw(st.integers(1, 3)),
        ffn_hidden_size=draw(st.integers(1, 9)),
        layers=draw(st.integers(1, 3)),
        attention_heads=heads,
        kv_groups=groups,
    )


@settings(max_examples=30, deadline=None)
@given(models(), st.integers(1, 9))
def test_round_trip_gives_the_same_bits(model: ModelParams, vocabulary: int) -> None:
    shapes = tensor_shapes(model, vocabulary)
    tensors = {name: torch.randn(shape) for name, shape in shapes.items()}
    there = hf_to_megatron(tensors, model)
    assert {name: tuple(t.shape) for name, t in there.items()} == megatron_shapes(model, vocabulary)
    back = megatron_to_hf(there, model)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("tied", [True, False])
def test_names_and_shapes_are_those_of_transformers_and_of_megatron(tied: bool) -> None:
    model = tiny_model(tied=tied)
    tensors = llama_tensors(random_llama(model, VOCABULARY))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert tensor_shapes(model, VOCABULARY) == shapes
    module = build_model(model, VOCABULARY)
    built = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    assert megatron_shapes(model, VOCABULARY) == built
    assert count_parameters(model, VOCABULARY) == sum(p.numel() for p in module.parameters())


def test_a_tied_head_may_be_there_if_it_is_the_embedding() -> None:
    model = tiny_model()
    tensors = llama_tensors(random_llama(model, VOCABULARY))
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    assert "output_layer.weight" not in hf_to_megatron(tensors, model)
    tensors["lm_head.weight"][0, 0] += 1
    with pytest.raises(CheckpointError, match=r"lm_head\.weight differs"):
        hf_to_megatron(tensors, model)


def test_what_does_not_fit_is_named() -> None:
    model = tiny_model()
    tensors = llama_tensors(random_llama(model, VOCABULARY))
    norm = tensors.pop("model.norm.weight")
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight is missing"):
        hf_to_megatron(tensors, model)
    with pytest.raises(CheckpointError, match=r"missing \(did you mean 'model.norm.weights'\?\)"):
        hf_to_megatron({**tensors, "model.norm.weights": norm}, model)
    tensors["model.norm.weight"] = norm
    with pytest.raises(CheckpointError, match=r"extra\.weight has no place"):
        hf_to_megatron({**tensors, "extra.weight": norm}, model)
    with pytest.raises(CheckpointError, match=r"has shape \[48, 32\].* implies \[64, 32\]"):
        hf_to_megatron(tensors, tiny_model(ffn_hidden_size=64))
    with pytest.raises(CheckpointError, match=r"embed_tokens\.weight is missing"):
        hf_to_megatron({}, model)
