"""What a Hugging Face model directory holds beside its weights.

    config.json              the base's, with the token ids of our tokenizer
    generation_config.json   generate() stops at the token that ends an assistant's turn
    tokenizer.json, ..       as in models/tokenizer, chat template included

The stop token is the tokenizer's ``eos_token``; the tokenizer stage refuses a template that ends
an assistant's turn with any other token.
"""

import shutil
from pathlib import Path
from typing import Any, Literal

from minilingua.core.errors import CheckpointError
from minilingua.core.files import tree_files, write_json
from minilingua.core.tokenizer_files import SpecialTokenIds
from minilingua.params import ModelParams


def model_config(
    base: dict[str, Any],
    model: ModelParams,
    ids: SpecialTokenIds,
    dtype: Literal["float32", "bfloat16", "float16"],
) -> dict[str, Any]:
    """Returns the export's config.json.

    Args:
        base: config.json of the base model.
        model: the shape that was trained.
        ids: special tokens.
        dtype: type of the exported weights.

    Raises:
        CheckpointError: the base is another architecture or has another shape.
    """
    if base.get("model_type") != "llama":
        raise CheckpointError(
            f"models/base/config.json: model_type is {base.get('model_type')!r}; only 'llama' "
            "can be exported"
        )
    rope = dict(base.get("rope_parameters") or base.get("rope_scaling") or {})
    theta = rope.get("rope_theta", base.get("rope_theta"))
    if rope.get("rope_type", "default") != "default":
        raise CheckpointError(
            f"models/base/config.json: rope_type is {rope['rope_type']!r}; only 'default' can be "
            "trained"
        )
    expected = {
        "hidden_size": model.hidden_size,
        "intermediate_size": model.ffn_hidden_size,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.attention_heads,
        "num_key_value_heads": model.kv_groups,
        "tie_word_embeddings": model.tied_embeddings,
        "rms_norm_eps": model.norm_epsilon,
        "rope_theta": model.rope_base,
        "max_position_embeddings": model.max_positions,
    }
    for name, value in expected.items():
        found = theta if name == "rope_theta" else base.get(name)
        if found != value:
            raise CheckpointError(
                f"models/base/config.json: {name} is {found!r}, but models/megatron was trained "
                f"with {value!r}; run `dvc repro train`"
            )
    return {
        **base,
        **ids.for_config(),
        "architectures": ["LlamaForCausalLM"],
        "dtype": dtype,
        "torch_dtype": dtype,  # the name that older readers know
        "rope_theta": theta,  # likewise
        "rope_parameters": {"rope_theta": theta, "rope_type": "default"},
        "use_cache": True,
    }


def write_configs(
    path: Path, config: dict[str, Any], base_generation: dict[str, Any], ids: SpecialTokenIds
) -> None:
    """Writes config.json and generation_config.json into a directory."""
    write_json(path / "config.json", config)
    write_json(path / "generation_config.json", {**base_generation, **ids.for_config()})


def copy_tokenizer(source: Path, destination: Path) -> None:
    """Copies the files of a tokenizer directory, chat template included."""
    for file in tree_files(source):
        shutil.copyfile(file, destination / file.name)
