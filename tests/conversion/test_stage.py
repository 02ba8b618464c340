"""The whole stage on tiny models: what it exports, and that a failed gate exports nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from minilingua import params_file
from minilingua.conversion import shards, stage
from minilingua.conversion.export import write_configs
from minilingua.conversion.exported import ExportedModel
from minilingua.conversion.stage import main, run
from minilingua.conversion.trained import SafetensorsFile
from minilingua.core.errors import (
    CheckpointError,
    DataError,
    MissingInputError,
    ParamsError,
    ParityError,
)
from minilingua.core.files import tree_digest
from minilingua.core.languages import LANGUAGES
from minilingua.megatron_model.weight_map import MapRow, hf_to_megatron, split_row
from minilingua.params import Params

from .conftest import (
    BEGIN,
    END,
    MODEL,
    PAD,
    Repository,
    rewrite_json,
    tiny_llama,
    with_convert,
    write_run,
)

UNTIED = MODEL.model_copy(update={"tied_embeddings": False})


@pytest.mark.parametrize("model", [MODEL, UNTIED], ids=["tied", "untied"])
def test_export_loads_with_plain_transformers_and_computes_the_same(
    repository: Repository, params: Params, model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    llama = tiny_llama(model)
    root = repository(llama, model)
    run(params)
    said = capsys.readouterr().out
    assert "models/hf: step 40 in 1 file(s) of float32; logits differ from Megatron's by" in said
    assert "generated tokens in 14 languages are the same" in said
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


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_export_in_16_bits_passes_the_gate_on_what_it_stores(
    repository: Repository, params: Params, dtype: str
) -> None:
    root = repository()
    run(with_convert(params, dtype=dtype))
    tensors = load_file(root / "models/hf/model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {getattr(torch, dtype)}
    config = json.loads((root / "models/hf/config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == dtype


def test_weights_beyond_the_range_of_the_type_are_refused(
    repository: Repository, params: Params
) -> None:
    llama = tiny_llama(UNTIED)
    with torch.no_grad():
        llama.lm_head.weight[0, 0] = 1e6
    root = repository(llama, UNTIED)
    old = _old_export(root)
    with pytest.raises(CheckpointError, match=r"output_layer\.weight .* not finite in float16"):
        run(with_convert(params, dtype="float16"))
    _assert_untouched(old)


@pytest.mark.parametrize("model", [MODEL, UNTIED], ids=["tied", "untied"])
def test_a_model_in_several_files_is_the_same_model(
    repository: Repository, params: Params, monkeypatch: pytest.MonkeyPatch, model: Any
) -> None:
    from transformers import AutoModelForCausalLM

    root = repository(tiny_llama(model), model)
    run(params)
    whole = load_file(root / "models/hf/model.safetensors")
    monkeypatch.setattr(stage, "_MEGABYTE", 20_000)
    run(with_convert(params, max_shard_mb=1))
    files = sorted(file.name for file in (root / "models/hf").glob("*.safetensors"))
    assert len(files) > 3
    index = json.loads((root / "models/hf/model.safetensors.index.json").read_text())
    assert sorted(set(index["weight_map"].values())) == files
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in whole.values())
    parts: dict[str, Tensor] = {}
    for file in files:
        tensors = load_file(root / "models/hf" / file)
        assert set(tensors) == {n for n, where in index["weight_map"].items() if where == file}
        parts |= tensors
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], tensor) for name, tensor in whole.items())
    loaded = AutoModelForCausalLM.from_pretrained(root / "models/hf", dtype=torch.float32)
    assert torch.equal(loaded.model.norm.weight, whole["model.norm.weight"])


def test_a_model_that_writes_otherwise_is_not_exported(
    repository: Repository, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = repository()
    old = _old_export(root)
    generate = ExportedModel.generate

    def stray(self: Any, prompts: Any, tokens: int, forced: int | None = None) -> Any:
        written = generate(self, prompts, tokens, forced)
        if forced is None:
            written[0][2] = (written[0][2] + 1) % 262
        return written

    monkeypatch.setattr(ExportedModel, "generate", stray)
    with pytest.raises(ParityError, match=r"prompt 'en' the export generates token .* at place 3"):
        run(params)
    _assert_untouched(old)


def test_an_export_that_goes_on_after_the_end_of_turn_is_not_published(
    repository: Repository, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = repository()
    old = _old_export(root)

    def another_stop(path: Path, *arguments: Any) -> None:
        write_configs(path, *arguments)
        rewrite_json(path / "generation_config.json", eos_token_id=PAD)

    monkeypatch.setattr(stage, "write_configs", another_stop)
    with pytest.raises(ParityError, match=r"goes on after the end of turn \(token 3\)"):
        run(params)
    _assert_untouched(old)


def test_a_template_that_never_ends_a_turn_is_refused(
    repository: Repository, params: Params
) -> None:
    root = repository()
    template = root / "models/tokenizer/chat_template.jinja"
    template.write_text(template.read_text().replace("+ eos_token", "+ '\n'"))
    rewrite_json(root / "models/megatron/model.json", tokenizer_digest=tree_digest(template.parent))
    with pytest.raises(ParityError, match="does not end an assistant's turn with its eos_token"):
        run(params)
    assert not (root / "models/hf").exists()


def test_the_report_names_every_language(repository: Repository, params: Params) -> None:
    root = repository()
    run(params)
    report = json.loads((root / "reports/conversion.json").read_text())
    assert set(LANGUAGES) < set(report["logits"])
    assert set(report["generated"]) == set(LANGUAGES)
    assert all(0 <= value <= 1e-4 for value in report["logits"].values())


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

    def corrupt(row: MapRow, tensor: Tensor, model: Any) -> dict[str, Tensor]:
        parts = split_row(row, tensor.clone(), model)
        if "model.layers.1.self_attn.k_proj.weight" in parts:
            parts["model.layers.1.self_attn.k_proj.weight"][5, 7] += 0.05
        return parts

    monkeypatch.setattr(shards, "split_row", corrupt)
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
            r"word_embeddings\.weight has shape \[264, 32\]",
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


def test_a_directory_in_place_of_the_weights_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="`dvc checkout` restores it"):
        SafetensorsFile(tmp_path)


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
        ({"max_position_embeddings": 7}, "max_position_embeddings is 7, but .* trained with 96"),
        ({"vocab_size": None}, "has a vocabulary of 262, models/base one of None"),
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


def test_any_kept_step_of_a_run(
    repository: Repository, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(params_file, "load_params", lambda: params)
    root = repository()
    write_run(root)
    assert main(["--step", "20", "--output", "chosen"]) == 0
    story = json.loads((root / "chosen/minilingua.json").read_text())
    assert (story["selected_step"], story["validation_loss"]) == (20, 1.25)
    assert story["run_key"] == "0123abcd"
    exported = load_file(root / "chosen/model.safetensors")
    expected = {k: v for k, v in tiny_llama(MODEL, seed=4).state_dict().items() if k in exported}
    assert all(torch.equal(exported[name], tensor) for name, tensor in expected.items())
    assert not (root / "models/hf").exists()

    assert main(["--step", "30", "--run", "0123", "--output", "chosen"]) == 0  # a sharded state
    story = json.loads((root / "chosen/minilingua.json").read_text())
    assert (story["selected_step"], story["validation_loss"]) == (30, None)
    exported = load_file(root / "chosen/model.safetensors")
    expected = {k: v for k, v in tiny_llama(MODEL, seed=5).state_dict().items() if k in exported}
    assert all(torch.equal(exported[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--step", "25", "--output", "x"], MissingInputError, "no weights of step 25; .* 20, 30$"),
        (["--step", "20", "--run", "9", "--output", "x"], MissingInputError, "has 0 runs '9'; "),
        (["--step", "20", "--output", "models"], ParamsError, "models exists and is no export"),
        (["--step", "20", "--output", "models/hf/"], ParamsError, "models/hf holds the model that"),
    ],
)
def test_what_cannot_be_exported_is_named(
    repository: Repository,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(params_file, "load_params", lambda: params)
    write_run(repository())
    with pytest.raises(error, match=message):
        main(arguments)
    assert not Path("x").exists()


def test_a_damaged_state_is_not_exported(
    repository: Repository, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(params_file, "load_params", lambda: params)
    root = repository()
    write_run(root)
    file = root / "runs/0123abcd/checkpoints/step_00000030/__0_0.distcp"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"__0_0\.distcp is missing or has changed"):
        main(["--step", "30", "--output", "x"])
    assert not (root / "x").exists()
