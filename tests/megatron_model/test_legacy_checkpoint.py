import argparse
import enum
import os
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from minilingua.core.errors import CheckpointError, MissingInputError
from minilingua.llama_shapes import tensor_shapes
from minilingua.megatron_model.legacy_checkpoint import FILE, LATEST, read_legacy
from minilingua.megatron_model.weight_map import TE_NAMES, hf_to_megatron
from minilingua.params import ModelParams
from tests.megatron_model.conftest import tiny_model

VOCABULARY = 50
PADDED = 64


def shape(*, tied: bool) -> ModelParams:
    return tiny_model(tied=tied, hidden_size=16, ffn_hidden_size=24, layers=4, attention_heads=4)


def weights(model: ModelParams) -> dict[str, Tensor]:
    """Weights by Hugging Face name."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: torch.randn(size, generator=generator).to(torch.bfloat16)
        for name, size in tensor_shapes(model, VOCABULARY).items()
    }


def cut(name: str, tensor: Tensor, rank: int, ranks: int) -> Tensor:
    """A rank's share, as Megatron's column- and row-parallel layers hold it."""
    if "norm" in name:
        return tensor
    if name.endswith(("linear_proj.weight", "linear_fc2.weight")):
        return tensor.chunk(ranks, dim=1)[rank].clone()
    if name.endswith("linear_fc1.weight"):
        gate, up = tensor.chunk(2)
        return torch.cat([gate.chunk(ranks)[rank], up.chunk(ranks)[rank]])
    return tensor.chunk(ranks)[rank].clone()


def arguments(model: ModelParams, **changes: object) -> argparse.Namespace:
    return argparse.Namespace(
        **{
            "normalization": "RMSNorm",
            "swiglu": True,
            "rotary_base": int(model.rope_base),
            "norm_epsilon": model.norm_epsilon,
            "untie_embeddings_and_output_weights": not model.tied_embeddings,
            **changes,
        }
    )


def place_of(name: str, *, layers: int, last: int, te: bool) -> tuple[int, str]:
    """The pipeline stage that holds a tensor, and its name there."""
    if not name.startswith("decoder.layers."):
        return (0 if name.startswith("embedding") else last), name
    number, rest = name.removeprefix("decoder.layers.").split(".", 1)
    rest = TE_NAMES.get(rest, rest) if te else rest
    return int(number) // layers, f"decoder.layers.{int(number) % layers}.{rest}"


def write(
    path: Path,
    model: ModelParams,
    tensors: dict[str, Tensor],
    *,
    tensor_ranks: int = 1,
    stages: int = 1,
    te: bool = False,
    **changes: object,
) -> Path:
    """Writes the checkpoint that Megatron-LM would; returns its directory."""
    full = hf_to_megatron(tensors, model)
    for name in ("embedding.word_embeddings.weight", "output_layer.weight"):
        if name in full:
            padding = torch.full((PADDED - VOCABULARY, model.hidden_size), 9.0).to(torch.bfloat16)
            full[name] = torch.cat([full[name], padding])
    if model.tied_embeddings and stages > 1:
        full["output_layer.weight"] = full["embedding.word_embeddings.weight"]
    layers = model.layers // stages
    iteration = path / "iter_0000120"
    for stage in range(stages):
        for rank in range(tensor_ranks):
            own: dict[str, Any] = {"output_layer._extra_state": None}
            for name, tensor in full.items():
                at, place = place_of(name, layers=layers, last=stages - 1, te=te)
                if at == stage:
                    own[place] = cut(name, tensor, rank, tensor_ranks)
            directory = iteration / (f"mp_rank_{rank:02d}" + f"_{stage:03d}" * (stages > 1))
            directory.mkdir(parents=True)
            content = {
                "args": arguments(model, **changes),
                "checkpoint_version": 3.0,
                "iteration": 120,
                "model": own,
                "rng_state": [{"np_rng_state": np.random.RandomState(1).get_state()}],
            }
            torch.save(content, directory / FILE)
    (path / LATEST).write_text("120")
    return iteration


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("te", [False, True])
@pytest.mark.parametrize(("tensor_ranks", "stages"), [(1, 1), (2, 1), (1, 2), (2, 4)])
@pytest.mark.parametrize("tied", [False, True])
def test_every_layout_gives_the_same_weights(
    tmp_path: Path, tied: bool, tensor_ranks: int, stages: int, te: bool
) -> None:
    model = shape(tied=tied)
    tensors = weights(model)
    iteration = write(tmp_path, model, tensors, tensor_ranks=tensor_ranks, stages=stages, te=te)
    for path in (tmp_path, iteration):
        found, name = read_legacy(path, model, VOCABULARY)
        assert name == "iter_0000120"
        assert_equal(found, tensors)


class _Reduced:
    """Pickles as a call of whatever function."""

    def __init__(self, call: Any, *given: object) -> None:
        self.call, self.given = call, given

    def __reduce__(self) -> Any:
        return self.call, self.given


def note(place: str) -> None:
    """What a file may name, of a module that can be imported."""
    Path(place).touch()


def test_what_a_file_names_is_never_run(tmp_path: Path) -> None:
    model = shape(tied=True)
    tensors = weights(model)
    touched = tmp_path / "touched"
    write(tmp_path / "run", model, tensors, evil=_Reduced(note, str(touched)))
    found, _ = read_legacy(tmp_path / "run", model, VOCABULARY)
    assert_equal(found, tensors)
    assert not touched.exists()


@pytest.mark.parametrize("call", [os.system, eval, exec])
def test_a_file_that_names_a_shell_is_not_read(tmp_path: Path, call: Any) -> None:
    model = shape(tied=True)
    touched = tmp_path / "touched"
    evil = _Reduced(
        call, f"touch {touched}" if call is os.system else f"open({str(touched)!r}, 'w')"
    )
    write(tmp_path / "run", model, weights(model), evil=evil)
    with pytest.raises(CheckpointError, match=f"names .*{call.__name__}, as no checkpoint"):
        read_legacy(tmp_path / "run", model, VOCABULARY)
    assert not touched.exists()


def test_enums_of_a_program_that_is_not_here_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("megatron_training_enums")
    Backend = enum.Enum("Backend", {"flash": 1}, module=module.__name__)  # noqa: N806 - a class
    vars(module)["Backend"] = Backend
    monkeypatch.setitem(sys.modules, module.__name__, module)
    model = shape(tied=True)
    tensors = weights(model)
    write(tmp_path, model, tensors, attention_backend=Backend["flash"])
    monkeypatch.delitem(sys.modules, module.__name__)
    found, _ = read_legacy(tmp_path, model, VOCABULARY)
    assert_equal(found, tensors)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"normalization": "LayerNorm"}, "trained with normalization 'LayerNorm'"),
        ({"rotary_base": 500000}, "trained with rotary_base 500000, the model of params.yaml has"),
        ({"untie_embeddings_and_output_weights": True}, "untie_embeddings_and_output_weights True"),
        ({"apply_layernorm_1p": True}, "apply_layernorm_1p True"),
    ],
)
def test_another_architecture_is_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    model = shape(tied=True)
    write(tmp_path, model, weights(model), **changes)
    with pytest.raises(CheckpointError, match=expected):
        read_legacy(tmp_path, model, VOCABULARY)


def test_another_shape_is_refused(tmp_path: Path) -> None:
    model = shape(tied=True)
    write(tmp_path, model, weights(model), stages=2)
    wide = model.model_copy(update={"ffn_hidden_size": 32})
    with pytest.raises(CheckpointError, match=r"linear_fc1.weight has shape .48, 16., but model"):
        read_legacy(tmp_path, wide, VOCABULARY)
    deep = model.model_copy(update={"layers": 5})
    with pytest.raises(CheckpointError, match=r"layers.4.* is missing"):
        read_legacy(tmp_path, deep, VOCABULARY)
    with pytest.raises(CheckpointError, match="has 64 rows, the tokenizer has 65 tokens"):
        read_legacy(tmp_path, model, PADDED + 1)


def test_biases_have_no_place(tmp_path: Path) -> None:
    model = shape(tied=True)
    iteration = write(tmp_path, model, weights(model))
    file = iteration / "mp_rank_00" / FILE
    content = torch.load(file, weights_only=False)  # ours, of a moment ago
    content["model"]["decoder.layers.0.mlp.linear_fc2.bias"] = torch.zeros(16)
    torch.save(content, file)
    with pytest.raises(CheckpointError, match=r"linear_fc2.bias has no place in this model"):
        read_legacy(tmp_path, model, VOCABULARY)


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    model = shape(tied=True)
    iteration = write(tmp_path, model, weights(model), tensor_ranks=2)
    file = iteration / "mp_rank_01" / FILE
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"mp_rank_01/.*: is not a whole checkpoint of torch"):
        read_legacy(tmp_path, model, VOCABULARY)
    file.unlink()
    with pytest.raises(MissingInputError, match=f"mp_rank_01/{FILE} is missing"):
        read_legacy(tmp_path, model, VOCABULARY)
    (tmp_path / LATEST).write_text("200")
    with pytest.raises(MissingInputError, match=r"iter_0000200 is missing; .*names it"):
        read_legacy(tmp_path, model, VOCABULARY)
    (iteration / ".metadata").touch()
    with pytest.raises(CheckpointError, match="is a distributed checkpoint"):
        read_legacy(iteration, model, VOCABULARY)
    with pytest.raises(MissingInputError, match="holds no mp_rank_00"):
        read_legacy(tmp_path / "nothing", model, VOCABULARY)
