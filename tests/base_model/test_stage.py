import json
import math
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from minilingua.base_model import stage
from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import tree_digest
from minilingua.params import Params
from tests.base_model.conftest import VOCABULARY, with_local, with_model, write_tokenizer

BASE = Path("models/base")


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_loads_it_with_the_shape_that_was_asked_for(
    params: Params, tied: bool
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    stage.run(with_model(params, tied_embeddings=tied))
    model, report = AutoModelForCausalLM.from_pretrained(
        BASE, dtype=torch.float32, output_loading_info=True
    )
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(model).__name__ == "LlamaForCausalLM"
    config = model.config
    assert (config.vocab_size, config.hidden_size, config.intermediate_size) == (
        VOCABULARY, 64, 96,
    )  # fmt: skip
    assert (config.num_hidden_layers, config.num_attention_heads) == (2, 4)
    assert (config.num_key_value_heads, config.head_dim) == (2, 16)
    assert config.rope_parameters == {"rope_theta": 12345.0, "rope_type": "default"}
    assert (config.rms_norm_eps, config.max_position_embeddings) == (3e-5, 77)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 3)
    assert config.tie_word_embeddings is tied
    shared = model.lm_head.weight is model.model.embed_tokens.weight
    assert shared is tied
    assert model.generation_config.eos_token_id == 2
    logits = model(torch.tensor([[1, 5, 9]])).logits
    assert logits.shape == (1, 3, VOCABULARY)
    assert torch.isfinite(logits).all()


def test_older_readers_find_the_rope_base_too(params: Params) -> None:
    stage.run(params)
    assert json.loads((BASE / "config.json").read_text())["rope_theta"] == 12345.0


def test_weights_are_distributed_as_documented(params: Params) -> None:
    stage.run(params)
    tensors = load_file(BASE / "model.safetensors")
    residual = 0.05 / math.sqrt(2 * 2)
    for name, tensor in tensors.items():
        if "norm" in name:
            assert np.array_equal(tensor, np.ones(64, dtype=np.float32))
            continue
        std = residual if "o_proj" in name or "down_proj" in name else 0.05
        assert tensor.dtype == np.float32
        assert abs(float(tensor.mean())) < 5 * std / math.sqrt(tensor.size)
        assert float(tensor.std()) == pytest.approx(std, rel=0.08)
    drawn = [tensor.tobytes() for name, tensor in tensors.items() if "norm" not in name]
    assert len(set(drawn)) == len(drawn)


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_weights(params: Params) -> None:
    stage.run(params)
    first = tree_digest(BASE)
    stage.run(params)
    assert tree_digest(BASE) == first
    stage.run(params.model_copy(update={"seed": 8}))
    assert tree_digest(BASE) != first


def test_a_wider_vocabulary_changes_no_other_tensor(params: Params) -> None:
    stage.run(params)
    before = load_file(BASE / "model.safetensors")
    write_tokenizer(Path("models/tokenizer"), size=VOCABULARY + 10)
    stage.run(params)
    after = load_file(BASE / "model.safetensors")
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"model.embed_tokens.weight"}


def test_the_file_has_one_metadata_key_and_is_readable_by_all(params: Params) -> None:
    stage.run(params)
    with safe_open(BASE / "model.safetensors", framework="numpy") as file:
        assert file.metadata() == {"format": "pt"}
    assert stat.S_IMODE((BASE / "model.safetensors").stat().st_mode) == 0o644


def test_the_stage_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys; import minilingua.base_model.stage;"
        "print(sorted({'torch', 'transformers', 'megatron'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_missing_tokenizer_names_the_stage_that_makes_it(params: Params) -> None:
    Path("models/tokenizer/tokenizer.json").unlink()
    with pytest.raises(MissingInputError, match=r"tokenizer\.json is missing; `minilingua token"):
        stage.run(params)
    assert not BASE.exists()


def test_a_tokenizer_without_end_of_turn_is_refused(params: Params) -> None:
    write_tokenizer(Path("models/tokenizer"), eos_token=None)
    with pytest.raises(DataError, match=r"tokenizer_config\.json names no eos_token"):
        stage.run(params)


def test_a_missing_local_directory_names_the_parameter(params: Params) -> None:
    with pytest.raises(MissingInputError, match=r"nowhere is missing; base\.path in params\.yaml"):
        stage.run(with_local(params, Path("nowhere")))
