import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minilingua.base_model import stage
from minilingua.core.errors import CheckpointError, MissingInputError
from minilingua.core.files import tree_digest
from minilingua.params import Params
from tests.base_model.conftest import with_local, with_model, write_tokenizer

GIVEN = Path("given")
BASE = Path("models/base")


@pytest.fixture
def local(params: Params) -> Params:
    """Parameters that take the model in ``given``, which fits them."""
    stage.run(params)
    shutil.copytree(BASE, GIVEN)
    shutil.rmtree(BASE)
    return with_local(params, GIVEN)


def change_config(**changes: Any) -> None:
    file = GIVEN / "config.json"
    config = json.loads(file.read_text()) | changes
    kept = {key: value for key, value in config.items() if value != "absent"}
    file.write_text(json.dumps(kept))


def change_tensors(change: dict[str, Any]) -> None:
    file = GIVEN / "model.safetensors"
    tensors = load_file(file) | change
    save_file({name: value for name, value in tensors.items() if value is not None}, file)


def shard() -> None:
    tensors = load_file(GIVEN / "model.safetensors")
    (GIVEN / "model.safetensors").unlink()
    weight_map = {
        name: f"model-{number % 2}.safetensors" for number, name in enumerate(sorted(tensors))
    }
    for file in set(weight_map.values()):
        part = {name: tensors[name] for name, place in weight_map.items() if place == file}
        save_file(part, GIVEN / file)
    (GIVEN / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_a_model_that_fits_is_copied(local: Params) -> None:
    stage.run(local)
    assert tree_digest(BASE) == tree_digest(GIVEN)


def test_shards_are_copied_with_their_index(local: Params) -> None:
    shard()
    stage.run(local)
    assert sorted(file.name for file in BASE.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model-0.safetensors",
        "model-1.safetensors",
        "model.safetensors.index.json",
    ]
    (GIVEN / "model-1.safetensors").unlink()
    with pytest.raises(MissingInputError, match=r"model-1\.safetensors is missing"):
        stage.run(local)


@pytest.mark.parametrize(
    ("lie", "message"),
    [
        (
            {"model.norm.weight": "absent"},
            r"model\.norm\.weight is in model-\d\.safetensors, but .* not$",
        ),
        ({"extra": "model-0.safetensors"}, r"extra is not in model-0\.safetensors, but .* it is$"),
        ({"extra": 5}, "no weight_map of names of safetensors files"),
        ({"extra": ".."}, "no weight_map of names of safetensors files"),
        ({"extra": "../model-0.safetensors"}, "no weight_map of names of safetensors files"),
    ],
)
def test_an_index_that_lies_is_refused(local: Params, lie: dict[str, Any], message: str) -> None:
    shard()
    file = GIVEN / "model.safetensors.index.json"
    index = json.loads(file.read_text())
    told = index["weight_map"] | lie
    index["weight_map"] = {name: place for name, place in told.items() if place != "absent"}
    file.write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=message):
        stage.run(local)
    assert not BASE.exists()


def test_a_tensor_in_two_shards_is_refused(local: Params) -> None:
    shard()
    tensors = [load_file(file) for file in sorted(GIVEN.glob("model-*.safetensors"))]
    name = min(tensors[1])
    save_file(tensors[0] | {name: tensors[1][name] * 2}, GIVEN / "model-0.safetensors")
    with pytest.raises(CheckpointError, match=r"is in model-0\.safetensors, but .* says it is not"):
        stage.run(local)


def test_of_many_tensors_that_do_not_fit_some_are_named(local: Params) -> None:
    change_tensors(dict.fromkeys(load_file(GIVEN / "model.safetensors")))
    with pytest.raises(CheckpointError, match=r"\d+ more tensors do not fit") as caught:
        stage.run(local)
    assert len(str(caught.value).splitlines()) == 9


def test_rope_that_is_no_object_is_refused(local: Params) -> None:
    change_config(rope_parameters="default")
    with pytest.raises(CheckpointError, match="rope_scaling is 'default', no object"):
        stage.run(local)


def test_keys_that_older_exports_leave_out_have_their_meaning(local: Params) -> None:
    change_config(
        head_dim="absent", rope_parameters="absent", attention_bias="absent", mlp_bias="absent"
    )
    (GIVEN / "generation_config.json").unlink()
    stage.run(local)
    generation = json.loads((BASE / "generation_config.json").read_text())
    assert generation == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}


def test_a_tied_matrix_stored_twice_is_no_mismatch(local: Params) -> None:
    change_tensors({"lm_head.weight": np.zeros((320, 64), dtype=np.float32)})
    stage.run(local)


def test_padded_embeddings_are_allowed(local: Params) -> None:
    change_config(vocab_size=384)
    change_tensors({"model.embed_tokens.weight": np.zeros((384, 64), dtype=np.float32)})
    stage.run(local)


def test_every_mismatch_is_a_line_of_its_own(local: Params) -> None:
    with pytest.raises(CheckpointError) as caught:
        stage.run(with_model(local, layers=3, rope_base=10000.0, tied_embeddings=False))
    assert str(caught.value).splitlines() == [
        "given: num_hidden_layers is 2 where model.layers is 3",
        "given: tie_word_embeddings is True where model.tied_embeddings is False",
        "given: rope_theta is 12345.0 where model.rope_base is 10000.0",
    ]
    assert not BASE.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["MistralForCausalLM"]}, "only LlamaForCausalLM is supported"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu' where this platform supports only 'silu'"),
        ({"attention_bias": True}, "attention_bias is True where this platform supports only"),
        ({"head_dim": 32}, "head_dim is 32 where this platform supports only 16"),
        (
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 12345.0}},
            "rope_type is 'llama3', only 'default' is supported",
        ),
        ({"hidden_size": "absent"}, "hidden_size is None where model.hidden_size is 64"),
    ],
)
def test_an_architecture_that_is_not_ours_is_refused(
    local: Params, changes: dict[str, Any], message: str
) -> None:
    change_config(**changes)
    with pytest.raises(CheckpointError, match=message):
        stage.run(local)


def test_a_vocabulary_smaller_than_the_tokenizers_is_refused(local: Params) -> None:
    write_tokenizer(Path("models/tokenizer"), size=321)
    with pytest.raises(CheckpointError, match="vocab_size is 320, less than the 321 tokens"):
        stage.run(local)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.norm.weight": None}, r"tensor model\.norm\.weight is missing"),
        ({"model.extra": np.zeros(2, dtype=np.float32)}, r"tensor model\.extra is not one of"),
        (
            {"model.norm.weight": np.ones(65, dtype=np.float32)},
            r"tensor model\.norm\.weight has shape \[65\] instead of \[64\]",
        ),
        ({"model.norm.weight": np.ones(64, dtype=np.int8)}, r"model\.norm\.weight is I8, not one"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    local: Params, change: dict[str, Any], message: str
) -> None:
    change_tensors(change)
    with pytest.raises(CheckpointError, match=message):
        stage.run(local)


@pytest.mark.parametrize("length", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(local: Params, length: int) -> None:
    file = GIVEN / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: not a complete safetensors"):
        stage.run(local)


def test_weights_in_another_format_are_refused(local: Params) -> None:
    (GIVEN / "model.safetensors").rename(GIVEN / "pytorch_model.bin")
    with pytest.raises(MissingInputError, match=r"model\.safetensors is missing; `save_pretrained"):
        stage.run(local)
