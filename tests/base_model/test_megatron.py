"""A legacy checkpoint of Megatron-LM becomes the base model."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minilingua.base_model import stage
from minilingua.core.errors import MissingInputError
from minilingua.megatron_model.legacy_checkpoint import FILE
from minilingua.megatron_model.weight_map import hf_to_megatron
from minilingua.params import BaseParams, Params

BASE = Path("models/base")


def with_megatron(params: Params, path: Path) -> Params:
    base = BaseParams(origin="megatron", path=str(path), hub=None, revision=None, init_std=0.02)
    return params.model_copy(update={"base": base})


def test_its_weights_are_those_of_the_model(params: Params) -> None:
    stage.run(params)
    expected = load_file(BASE / "model.safetensors")
    config = (BASE / "config.json").read_text()
    rank = Path("given/iter_0000010/mp_rank_00")
    rank.mkdir(parents=True)
    torch.save({"model": hf_to_megatron(expected, params.model)}, rank / FILE)
    stage.run(with_megatron(params, Path("given/iter_0000010")))
    found = load_file(BASE / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert (BASE / "config.json").read_text().replace("0.02", "0.05") == config


def test_a_directory_without_one_is_named(params: Params) -> None:
    with pytest.raises(MissingInputError, match="given: holds no mp_rank_00"):
        stage.run(with_megatron(params, Path("given")))
    assert not BASE.exists()
