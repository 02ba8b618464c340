"""A Llama in GGUF as a directory in Hugging Face layout: dequantized to fp32, by transformers."""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from minilingua.base_model.llama import ARCHITECTURE
from minilingua.core.errors import CheckpointError
from minilingua.core.files import write_json
from minilingua.core.weights_file import save_weights
from minilingua.llama_shapes import OUTPUT

_MODEL_FIELDS = (
    "attention_bias",
    "bos_token_id",
    "eos_token_id",
    "head_dim",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "mlp_bias",
    "model_type",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "pad_token_id",
    "rms_norm_eps",
    "rope_parameters",
    "tie_word_embeddings",
    "use_cache",
    "vocab_size",
)


def unpack_gguf(file: Path, destination: Path) -> None:
    """Writes config.json, generation_config.json and model.safetensors.

    Args:
        file: a GGUF file (``core.gguf_files`` finds it).
        destination: an empty directory.

    Raises:
        CheckpointError: transformers cannot read it, or it is no Llama.
        OutputError: the weights cannot be written.
    """
    from transformers.models.llama import LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        model, loading = LlamaForCausalLM.from_pretrained(
            file.parent, gguf_file=file.name, local_files_only=True, output_loading_info=True
        )
    except (ValueError, KeyError, RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{file}: transformers cannot read it: {reason}") from error
    if model.config.model_type != "llama" or loading["missing_keys"]:
        missing = ", ".join(sorted(loading["missing_keys"])[:3])
        raise CheckpointError(
            f"{file}: is no complete Llama: model_type {model.config.model_type!r}, "
            f"missing tensors: {missing or 'none'}"
        )
    given = model.config.to_dict()
    config = {name: _decimal(given[name]) for name in _MODEL_FIELDS}
    config |= {
        "architectures": [ARCHITECTURE],
        "dtype": "float32",
        "rope_theta": config["rope_parameters"]["rope_theta"],  # the name that older readers know
    }
    write_json(destination / "config.json", config)
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    write_json(destination / "generation_config.json", {name: config[name] for name in ids})
    tensors = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
    if config["tie_word_embeddings"]:
        tensors.pop(OUTPUT, None)
    save_weights(destination / "model.safetensors", tensors, save_file)


def _decimal(value: Any) -> Any:
    """Returns what was written before GGUF stored it as fp32: 1e-05, not 9.999999747378752e-06."""
    if isinstance(value, dict):
        return {key: _decimal(inner) for key, inner in value.items()}
    return float(str(np.float32(value))) if isinstance(value, float) else value
