"""The tensors of a Llama model, by their Hugging Face names.

Source: ``LlamaForCausalLM`` of transformers.
"""

import math

from minilingua.params import ModelParams

EMBEDDING, OUTPUT = "model.embed_tokens.weight", "lm_head.weight"


def tensor_shapes(model: ModelParams, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Returns name ─► shape of every tensor, in the order of the model."""
    hidden, ffn = model.hidden_size, model.ffn_hidden_size
    key_value = hidden // model.attention_heads * model.kv_groups
    shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (vocab_size, hidden)}
    for layer in range(model.layers):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "input_layernorm.weight": (hidden,),
            prefix + "self_attn.q_proj.weight": (hidden, hidden),
            prefix + "self_attn.k_proj.weight": (key_value, hidden),
            prefix + "self_attn.v_proj.weight": (key_value, hidden),
            prefix + "self_attn.o_proj.weight": (hidden, hidden),
            prefix + "post_attention_layernorm.weight": (hidden,),
            prefix + "mlp.gate_proj.weight": (ffn, hidden),
            prefix + "mlp.up_proj.weight": (ffn, hidden),
            prefix + "mlp.down_proj.weight": (hidden, ffn),
        }
    shapes["model.norm.weight"] = (hidden,)
    if not model.tied_embeddings:
        shapes[OUTPUT] = (vocab_size, hidden)
    return shapes


def count_parameters(model: ModelParams, vocab_size: int) -> int:
    """Returns the number of trained parameters; a tied output layer counts once."""
    return sum(math.prod(shape) for shape in tensor_shapes(model, vocab_size).values())
