"""The whole stage on tiny models: what it exports, and that a failed gate exports nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from minilingua.conversion import stage
from minilingua.conversion.stage import run
from minilingua.core.errors import CheckpointError, DataError, MissingInputError, ParityError
from minilingua.core.files import tree_digest
from minilingua.megatron_model.weight_map import hf_to_megatron, megatron_to_hf
from minilingua.params import Params

from .conftest import BEGIN, END, MODEL, PAD, Repository, rewrite_json, tiny_llama

UNTIED = MODEL.model_copy(update={"tied_embeddings": False})


@pytest.mark.parametrize("model", [MODEL, UNTIED], ids=["tied", "untied"])
def test_export_loads_with_plain_transformers_and_computes_the_same(
    repository: Repository, params: Params, model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    llama = tiny_llama(model)
    root = repository(llama, model)
    run(params)
    assert "models/hf: step 40; logits differ" in capsys.readouterr().out
    loaded = AutoModelForCausalLM.from_pretrained(root / "models/hf", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(root / "models/hf")
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Zażółć"}], return_tensors="pt", return_dict=False
    )
    with torch.inference_mode():
        torch.testing.assert_close(loaded(ids).logits, llama(ids).logits, atol=0, rtol=0)
    assert (loaded.config.bos_token_id, loaded.config.eos_token_id) == (BEGIN, END)
    assert loaded.config.pad_token_id == PAD


def test_round_trip_is_bitwise(repository: Repository, params: Params) -> None:
    root = repository()
    run(params)
    back = hf_to_megatron(load_file(root / "models/hf/model.safetensors"), MODEL)
    trained = load_file(root / "models/megatron/model.safetensors")
    assert back.keys() == trained.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in trained.items())


def test_generation_stops_at_the_end_of_turn(repository: Repository, params: Params) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    llama = tiny_llama(UNTIED)
    with torch.no_grad():  # whatever it read, the likeliest next token ends the turn
        llama.model.embed_tokens.weight[:, 0] = 30.0
        llama.model.norm.weight.fill_(1.0)
        llama.lm_head.weight.mul_(0.01)
        llama.lm_head.weight[END, 0] = 1.0
    root = repository(llama, UNTIED)
    run(params)
    model = AutoModelForCausalLM.from_pretrained(root / "models/hf")
    tokenizer = AutoTokenizer.from_pretrained(root / "models/hf")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    generated = model.generate(**prompt, max_new_tokens=20, do_sample=False)
    assert generated[0, prompt["input_ids"].shape[1] :].tolist() == [END]
    assert tokenizer.decode([END]) == "<|end|>"


def test_bfloat16_export_passes_the_gate_on_what_it_stores(
    repository: Repository, params: Params
) -> None:
    root = repository()
    params = params.model_copy(
        update={"convert": params.convert.model_copy(update={"dtype": "bfloat16"})}
    )
    run(params)
    tensors = load_file(root / "models/hf/model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    config = json.loads((root / "models/hf/config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == "bfloat16"


def test_what_lies_beside_the_weights(repository: Repository, params: Params) -> None:
    root = repository()
    run(params)
    exported = root / "models/hf"
    assert sorted(file.name for file in exported.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "minilingua.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    config = json.loads((exported / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == 20000.0
    generation = json.loads((exported / "generation_config.json").read_text())
    assert (generation["bos_token_id"], generation["eos_token_id"]) == (BEGIN, END)
    assert generation["pad_token_id"] == PAD
    story = json.loads((exported / "minilingua.json").read_text())
    assert (story["selected_step"], story["validation_loss"]) == (40, 2.5)
    assert story["inputs"]["models/megatron"] == tree_digest(root / "models/megatron")
    assert str(root) not in (exported / "minilingua.json").read_text()


def test_same_bytes_again(repository: Repository, params: Params) -> None:
    root = repository()
    run(params)
    first = tree_digest(root / "models/hf")
    run(params)
    assert tree_digest(root / "models/hf") == first


def _old_export(root: Path) -> Path:
    old = root / "models/hf"
    old.mkdir()
    (old / "config.json").write_text("of the last good run")
    return old


def _assert_untouched(old: Path) -> None:
    assert (old / "config.json").read_text() == "of the last good run"
    assert [path.name for path in old.parent.iterdir() if path.name.startswith(".")] == []


def test_a_failed_parity_gate_exports_nothing(
    repository: Repository, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = repository()
    old = _old_export(root)

    def corrupt(tensors: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
        exported = megatron_to_hf(tensors, model)
        exported["model.layers.1.self_attn.k_proj.weight"][5, 7] += 0.05
        return exported

    monkeypatch.setattr(stage, "megatron_to_hf", corrupt)
    with pytest.raises(ParityError, match=r"logits of the export differ by .* on probe"):
        run(params)
    _assert_untouched(old)


def _spoil(tensors: dict[str, Tensor]) -> None:
    tensors["decoder.layers.0.mlp.linear_fc2.weight"][0, 0] = float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_spoil, r"layers\.0\.mlp\.linear_fc2\.weight holds values that are not finite"),
        (
            lambda t: t.pop("decoder.final_layernorm.weight"),
            r"decoder\.final_layernorm\.weight is missing",
        ),
        (
            lambda t: t.update({"decoder.layers.2.input_layernorm.weight": torch.ones(32)}),
            r"decoder\.layers\.2\.input_layernorm\.weight has no place in this model",
        ),
        (
            lambda t: t.update({"decoder.final_layernorm.weight": torch.ones(31)}),
            r"decoder\.final_layernorm\.weight has shape \[31\]",
        ),
        (
            lambda t: t.update(
                {
                    "embedding.word_embeddings.weight": torch.cat(
                        [t["embedding.word_embeddings.weight"], torch.zeros(2, 32)]
                    )
                }
            ),
            r"embed_tokens\.weight has shape \[264, 32\]",
        ),
    ],
    ids=["not finite", "missing", "extra", "shape", "padded vocabulary"],
)
def test_every_tensor_is_accounted_for(
    repository: Repository, params: Params, change: Any, message: str
) -> None:
    root = repository()
    old = _old_export(root)
    file = root / "models/megatron/model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=message):
        run(params)
    _assert_untouched(old)


@pytest.mark.parametrize(
    ("missing", "made_by"),
    [
        ("models/megatron/model.json", "minilingua train"),
        ("models/megatron/model.safetensors", "minilingua train"),
        ("models/base/config.json", "minilingua base"),
        ("models/tokenizer/tokenizer.json", "minilingua tokenizer"),
    ],
)
def test_missing_inputs_name_their_stage(
    repository: Repository, params: Params, missing: str, made_by: str
) -> None:
    root = repository()
    (root / missing).unlink()
    with pytest.raises(MissingInputError, match=f"{missing} is missing; `{made_by}` makes it"):
        run(params)


def test_a_truncated_file_is_no_traceback(repository: Repository, params: Params) -> None:
    file = repository() / "models/megatron/model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="`dvc checkout` restores it"):
        run(params)


def test_another_tokenizer_than_the_one_trained_with(
    repository: Repository, params: Params
) -> None:
    root = repository()
    rewrite_json(root / "models/tokenizer/tokenizer_config.json", model_max_length=7)
    with pytest.raises(CheckpointError, match="tokens of another tokenizer"):
        run(params)


def test_a_tokenizer_without_a_template(repository: Repository, params: Params) -> None:
    root = repository()
    (root / "models/tokenizer/chat_template.jinja").unlink()
    with pytest.raises(DataError, match="has no chat template"):
        run(params)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 64}, "hidden_size is 64, but models/megatron was trained with 32"),
        ({"model_type": "mistral"}, "model_type is 'mistral'; only 'llama' can be exported"),
        (
            {"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}},
            "rope_theta is 10000.0",
        ),
        (
            {"rope_parameters": {"rope_theta": 20000.0, "rope_type": "yarn", "factor": 2.0}},
            "rope_type is 'yarn'",
        ),
    ],
)
def test_a_base_of_another_shape(
    repository: Repository, params: Params, changes: dict[str, Any], message: str
) -> None:
    root = repository()
    rewrite_json(root / "models/base/config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        run(params)


def test_a_base_without_generation_config(repository: Repository, params: Params) -> None:
    root = repository()
    (root / "models/base/generation_config.json").unlink()
    run(params)
    shutil.rmtree(root / "models/base")
    generation = json.loads((root / "models/hf/generation_config.json").read_text())
    assert generation == {"bos_token_id": BEGIN, "eos_token_id": END, "pad_token_id": PAD}
