"""The Llama architecture as Hugging Face names it: configuration keys.

Source: ``LlamaConfig`` and ``LlamaForCausalLM`` of transformers.
"""

from dataclasses import dataclass
from typing import Any

from minilingua.params import ModelParams

ARCHITECTURE = "LlamaForCausalLM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What a model has to know of its tokenizer."""

    size: int
    """Number of tokens, added ones included."""
    bos_token_id: int | None
    eos_token_id: int
    pad_token_id: int | None


def shape_keys(model: ModelParams) -> dict[str, Any]:
    """Returns the keys of config.json that params.model determines."""
    return {
        "hidden_size": model.hidden_size,
        "intermediate_size": model.ffn_hidden_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.attention_heads,
        "num_key_value_heads": model.kv_groups,
        "head_dim": model.hidden_size // model.attention_heads,
        "tie_word_embeddings": model.tied_embeddings,
        "rope_theta": model.rope_base,
        "rms_norm_eps": model.norm_epsilon,
        "max_position_embeddings": model.max_positions,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
    }


def config(model: ModelParams, vocabulary: Vocabulary, init_std: float) -> dict[str, Any]:
    """Returns config.json of a new model; every key is set, so that no reader's default counts.

    ``rope_theta`` is for readers before transformers 5, ``rope_parameters`` for those since.
    """
    return {
        **shape_keys(model),
        "architectures": [ARCHITECTURE],
        "model_type": "llama",
        "vocab_size": vocabulary.size,
        "bos_token_id": vocabulary.bos_token_id,
        "eos_token_id": vocabulary.eos_token_id,
        "pad_token_id": vocabulary.pad_token_id,
        "rope_parameters": {"rope_theta": model.rope_base, "rope_type": "default"},
        "initializer_range": init_std,
        "attention_dropout": 0.0,
        "pretraining_tp": 1,
        "use_cache": True,
        "dtype": "float32",
    }


def generation_config(vocabulary: Vocabulary) -> dict[str, Any]:
    """Returns generation_config.json: stop at the end-of-turn token."""
    return {
        "bos_token_id": vocabulary.bos_token_id,
        "eos_token_id": vocabulary.eos_token_id,
        "pad_token_id": vocabulary.pad_token_id,
    }
