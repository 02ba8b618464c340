"""The reference: a random Llama of transformers in the shape of a ``ModelParams``."""

from typing import Any

import torch
from torch import Tensor

from minilingua.params import ModelParams


def random_llama(model: ModelParams, vocabulary: int) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=model.hidden_size,
        intermediate_size=model.ffn_hidden_size,
        num_hidden_layers=model.layers,
        num_attention_heads=model.attention_heads,
        num_key_value_heads=model.kv_groups,
        max_position_embeddings=model.max_positions,
        rope_theta=model.rope_base,
        rms_norm_eps=model.norm_epsilon,
        tie_word_embeddings=model.tied_embeddings,
        initializer_range=0.2,
    )
    llama = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in llama.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    return llama


def llama_tensors(llama: Any) -> dict[str, Tensor]:
    tied = llama.config.tie_word_embeddings
    return {
        name: tensor.detach().clone()
        for name, tensor in llama.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
