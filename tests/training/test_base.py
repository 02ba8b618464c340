import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from minilingua.core.errors import CheckpointError, MissingInputError
from minilingua.megatron_model.weight_map import hf_to_megatron
from minilingua.training.base import read_base
from tests.training.workspace import VOCABULARY, Workspace

WEIGHTS = "models/base/model.safetensors"


def test_base_is_read_as_megatron_tensors(workspace: Workspace) -> None:
    model = workspace.params.model
    base = read_base(model)
    expected = hf_to_megatron(load_file(WEIGHTS), model)
    assert base.vocab_size == VOCABULARY
    assert base.tensors.keys() == expected.keys()
    assert all(torch.equal(base.tensors[name], expected[name]) for name in expected)


def test_shards_are_joined(workspace: Workspace) -> None:
    whole = load_file(WEIGHTS)
    index: dict[str, str] = {}
    for number, name in enumerate(whole):
        index[name] = f"model-{number % 2}.safetensors"
    for shard in set(index.values()):
        part = {name: whole[name] for name in index if index[name] == shard}
        save_file(part, workspace.root / "models/base" / shard)
    (workspace.root / WEIGHTS).unlink()
    file = workspace.root / "models/base/model.safetensors.index.json"
    file.write_text(json.dumps({"weight_map": index}), encoding="utf-8")
    expected = hf_to_megatron(whole, workspace.params.model)
    base = read_base(workspace.params.model)
    assert all(torch.equal(base.tensors[name], expected[name]) for name in expected)
    (workspace.root / "models/base/model-1.safetensors").unlink()
    with pytest.raises(MissingInputError, match=r"model-1\.safetensors is missing"):
        read_base(workspace.params.model)


def test_a_damaged_base_is_refused(workspace: Workspace) -> None:
    file = workspace.root / WEIGHTS
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"base/model\.safetensors: .*`dvc checkout`"):
        read_base(workspace.params.model)


def test_a_base_of_another_shape_is_refused(workspace: Workspace) -> None:
    model = workspace.params.model.model_copy(update={"ffn_hidden_size": 64})
    with pytest.raises(CheckpointError, match=r"models/base: .* has shape \[48, 32\]"):
        read_base(model)
    config = workspace.root / "models/base/config.json"
    config.write_text('{"vocab_size": 65}', encoding="utf-8")
    with pytest.raises(CheckpointError, match="vocab_size 65, the embedding has 64 rows"):
        read_base(workspace.params.model)


def test_a_base_that_holds_no_number_is_refused(workspace: Workspace) -> None:
    tensors = load_file(WEIGHTS)
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, workspace.root / WEIGHTS)
    with pytest.raises(
        CheckpointError, match=r"models/base: model\.norm\.weight holds values that are not finite"
    ):
        read_base(workspace.params.model)
