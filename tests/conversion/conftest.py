"""A tiny base, a tiny "trained" model and a tokenizer, laid out as ``convert`` finds them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from minilingua.core.events import EvaluationEvent, append_event
from minilingua.core.files import sha256_file, tree_digest, tree_files, write_json
from minilingua.megatron_model.build import BuildOptions, build_model
from minilingua.megatron_model.megatron import dist_checkpointing
from minilingua.megatron_model.parallel import one_rank
from minilingua.megatron_model.weight_map import hf_to_megatron
from minilingua.megatron_model.weights import load_tensors
from minilingua.params import ModelParams, Params
from minilingua.params_file import load_params
from tests.megatron_model.in_process_save import InProcessSave

SPECIAL = ("<|unk|>", "<|pad|>", "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>")
PAD, BEGIN, END = 1, 2, 3
VOCAB_SIZE = len(SPECIAL) + 256

TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|' + message['role'] + '|>' + message['content'] + eos_token -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""

MODEL = ModelParams(
    name="tiny",
    hidden_size=32,
    ffn_hidden_size=48,
    layers=2,
    attention_heads=4,
    kv_groups=2,
    tied_embeddings=True,
    rope_base=20000.0,
    norm_epsilon=1e-5,
    max_positions=96,
)
"""Unlike the defaults of transformers and of Megatron wherever they have one."""


def write_tokenizer(path: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {text: number for number, text in enumerate((*SPECIAL, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    write_json(
        path / "tokenizer_config.json",
        {
            "bos_token": "<|begin|>",
            "eos_token": "<|end|>",
            "pad_token": "<|pad|>",
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
        },
    )
    (path / "chat_template.jinja").write_text(TEMPLATE)


def tiny_llama(model: ModelParams = MODEL, seed: int = 0) -> Any:
    from transformers.models.llama import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=model.hidden_size,
            intermediate_size=model.ffn_hidden_size,
            num_hidden_layers=model.layers,
            num_attention_heads=model.attention_heads,
            num_key_value_heads=model.kv_groups,
            max_position_embeddings=model.max_positions,
            rms_norm_eps=model.norm_epsilon,
            rope_parameters={"rope_theta": model.rope_base, "rope_type": "default"},
            tie_word_embeddings=model.tied_embeddings,
            initializer_range=0.2,
            bos_token_id=1,  # the export must not keep these two
            eos_token_id=2,
            pad_token_id=None,
        )
        llama = LlamaForCausalLM(config).eval()
        with torch.no_grad():
            for name, parameter in llama.named_parameters():
                if "norm" in name:  # ones at initialisation: exchanged norms would not show
                    parameter += torch.randn_like(parameter) * 0.1
    return llama


def megatron_tensors(llama: Any, model: ModelParams) -> dict[str, Tensor]:
    tensors = {name: tensor.detach() for name, tensor in llama.state_dict().items()}
    return {
        name: tensor.clone().contiguous() for name, tensor in hf_to_megatron(tensors, model).items()
    }


Repository = Callable[..., Path]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Returns a function that lays out models/ of a repository root and makes it current."""

    def make(llama: Any = None, model: ModelParams = MODEL) -> Path:
        monkeypatch.chdir(tmp_path)
        write_tokenizer(tmp_path / "models/tokenizer")
        tiny_llama(model, seed=9).save_pretrained(tmp_path / "models/base")
        trained = tmp_path / "models/megatron"
        trained.mkdir()
        llama = tiny_llama(model) if llama is None else llama
        save_file(megatron_tensors(llama, model), trained / "model.safetensors")
        write_json(
            trained / "model.json",
            {
                "model": model.model_dump(mode="json"),
                "vocab_size": VOCAB_SIZE,
                "selected_step": 40,
                "validation_loss": 2.5,
                "tokenizer_digest": tree_digest(tmp_path / "models/tokenizer"),
            },
        )
        return tmp_path

    return make


@pytest.fixture(autouse=True, scope="package")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny models: a second thread only waits
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def params() -> Params:
    return load_params(Path(__file__).parents[2] / "params.yaml")


def rewrite_json(path: Path, **changes: Any) -> None:
    write_json(path, json.loads(path.read_text()) | changes)


def with_convert(params: Params, **changes: Any) -> Params:
    return params.model_copy(update={"convert": params.convert.model_copy(update=changes)})


def write_run(root: Path, model: ModelParams = MODEL) -> Path:
    """A run directory with the weights of an evaluated step, 20, and a sharded state, 30."""
    run = root / "runs/0123abcd"
    write_json(
        run / "run.json",
        {
            "params": {"model": model.model_dump(mode="json")},
            "vocab_size": VOCAB_SIZE,
            "tokenizer_digest": tree_digest(root / "models/tokenizer"),
        },
    )
    (root / "runs/current").write_text("0123abcd\n")
    evaluation = EvaluationEvent(step=20, loss=1.25, supervised_tokens=9, languages={})
    append_event(run / "events.jsonl", evaluation)
    (run / "best").mkdir()
    tensors = megatron_tensors(tiny_llama(model, seed=4), model)
    save_file(tensors, run / "best/step_00000020.safetensors")
    state = run / "checkpoints/step_00000030"
    state.mkdir(parents=True)
    with one_rank():
        module = build_model(model, VOCAB_SIZE, BuildOptions(vocabulary_multiple=64))
        load_tensors(module, megatron_tensors(tiny_llama(model, seed=5), model), model)
        dist_checkpointing.save(
            module.sharded_state_dict(), str(state), sharded_strategy=InProcessSave()
        )
    files = {file.name: {"sha256": sha256_file(file)} for file in tree_files(state)}
    write_json(state / "complete.json", {"run_key": "0123abcd", "step": 30, "files": files})
    return run
