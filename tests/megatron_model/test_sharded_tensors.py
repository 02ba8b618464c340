"""Full tensors come back, bit by bit, from checkpoints of any parallel layout."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from safetensors.torch import save_file
from torch import Tensor

from minilingua.core.errors import CheckpointError
from minilingua.megatron_model.build import BuildOptions, build_model
from minilingua.megatron_model.megatron import dist_checkpointing
from minilingua.megatron_model.sharded_tensors import ShardedTensors
from minilingua.megatron_model.weight_map import hf_to_megatron
from minilingua.megatron_model.weights import load_tensors
from minilingua.params import ModelParams
from tests.megatron_model.conftest import VOCABULARY, tiny_model
from tests.megatron_model.in_process_save import InProcessSave
from tests.megatron_model.llama import llama_tensors, random_llama

WRITER = Path(__file__).with_name("sharded_writer.py")
ROOT = Path(__file__).parents[2]


def write_sharded(
    directory: Path, tensors: dict[str, Tensor], model: ModelParams, tensor: int, pipeline: int
) -> Path:
    """Writes a checkpoint by ``tensor * pipeline`` processes of a job of their own."""
    save_file(tensors, directory / "full.safetensors")
    (directory / "model.json").write_text(model.model_dump_json())
    output = directory / "checkpoint"
    output.mkdir()
    done = subprocess.run(
        [sys.executable, str(WRITER), str(directory), str(VOCABULARY), str(tensor), str(pipeline)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def model() -> ModelParams:
    return tiny_model(tied=False, layers=4)


@pytest.fixture(scope="module")
def tensors(model: ModelParams) -> dict[str, Tensor]:
    llama = llama_tensors(random_llama(model, VOCABULARY))
    return {name: t.contiguous() for name, t in hf_to_megatron(llama, model).items()}


@pytest.fixture(scope="module")
def sharded(
    model: ModelParams, tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A checkpoint of two tensor-parallel by two pipeline-parallel ranks; 61 tokens pad to 62."""
    return write_sharded(tmp_path_factory.mktemp("sharded"), tensors, model, tensor=2, pipeline=2)


def assert_equal(path: Path, model: ModelParams, tensors: dict[str, Tensor]) -> None:
    read = ShardedTensors(path, model, VOCABULARY)
    assert set(read) == set(tensors)
    assert len(read) == len(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor), name
    with pytest.raises(KeyError):
        read["decoder.layers.9.mlp.linear_fc1.weight"]


def test_four_ranks_give_the_same_bits(
    sharded: Path, model: ModelParams, tensors: dict[str, Tensor]
) -> None:
    assert_equal(sharded, model, tensors)


@pytest.mark.parametrize("tied", [True, False])
def test_one_rank_gives_the_same_bits(tied: bool, tmp_path: Path) -> None:
    model = tiny_model(tied=tied, layers=3)
    llama = llama_tensors(random_llama(model, VOCABULARY))
    tensors = hf_to_megatron(llama, model)
    module = build_model(model, VOCABULARY, BuildOptions(vocabulary_multiple=8))
    load_tensors(module, tensors, model)
    (tmp_path / "checkpoint").mkdir()
    dist_checkpointing.save(
        module.sharded_state_dict(), str(tmp_path / "checkpoint"), sharded_strategy=InProcessSave()
    )
    assert_equal(tmp_path / "checkpoint", model, tensors)


def test_the_fp32_weights_of_the_optimizer_are_preferred(tmp_path: Path) -> None:
    model = tiny_model(layers=2)
    tensors = hf_to_megatron(llama_tensors(random_llama(model, VOCABULARY)), model)
    module = build_model(model, VOCABULARY)
    load_tensors(module, tensors, model)
    state: dict[str, dict[str, Any]] = {"model": {}, "optimizer": {}}
    for key, entry in module.sharded_state_dict().items():
        if isinstance(entry, ShardedTensor | ShardedTensorFactory):
            dtype = {"dtype": torch.bfloat16} if isinstance(entry, ShardedTensor) else {}
            state["model"][key] = replace(entry, data=entry.data.bfloat16(), **dtype)
            master = replace(entry, key=f"optimizer.state.fp32_param.{entry.key}")
            state["optimizer"][key] = master
    (tmp_path / "checkpoint").mkdir()
    dist_checkpointing.save(state, str(tmp_path / "checkpoint"), sharded_strategy=InProcessSave())
    assert_equal(tmp_path / "checkpoint", model, tensors)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": 5}, r"has shape \[4, 32\], the model of this run has \[5, 32\]"),
        ({"ffn_hidden_size": 40}, r"linear_fc1\.weight has shape \[4, 96, 32\]"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    sharded: Path, changes: dict[str, int], message: str
) -> None:
    other = tiny_model(tied=False, **{"layers": 4, **changes})
    with pytest.raises(CheckpointError, match=message):
        ShardedTensors(sharded, other, VOCABULARY)


def test_damage_is_one_line(sharded: Path, model: ModelParams, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(sharded, damaged)
    (damaged / "__0_0.distcp").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        dict(ShardedTensors(damaged, model, VOCABULARY))
    (damaged / ".metadata").unlink()
    with pytest.raises(CheckpointError, match="its index cannot be read"):
        ShardedTensors(damaged, model, VOCABULARY)
