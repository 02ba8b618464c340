"""What a Hugging Face model directory holds beside its weights.

    config.json              the base's, with the token ids of our tokenizer
    generation_config.json   generate() stops at the token that ends an assistant's turn
    tokenizer.json, ..       as in models/tokenizer, chat template included

The stop token is the tokenizer's ``eos_token``; the tokenizer stage refuses a template that ends
an assistant's turn with any other token.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tokenizers import Tokenizer

from minilingua.core.errors import CheckpointError, DataError
from minilingua.core.files import read_json, require, tree_files, write_json
from minilingua.params import ModelParams

TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIds:
    """Ids of the special tokens that a model's configuration names."""

    begin: int | None
    end_of_turn: int
    pad: int

    def for_config(self) -> dict[str, int | None]:
        """Returns them under the names that Hugging Face configurations use."""
        return {
            "bos_token_id": self.begin,
            "eos_token_id": self.end_of_turn,
            "pad_token_id": self.pad,
        }


def read_token_ids(path: Path) -> TokenIds:
    """Reads the special tokens of a tokenizer directory.

    Raises:
        MissingInputError: a file of the tokenizer is missing.
        DataError: it has no chat template, no ``eos_token``, or one outside its vocabulary.
    """
    made_by = "minilingua tokenizer"
    tokenizer = Tokenizer.from_file(str(require(path / "tokenizer.json", made_by)))
    config = read_json(path / "tokenizer_config.json", made_by)
    if not (path / TEMPLATE).exists() and "chat_template" not in config:
        raise DataError(f"{path} has no chat template ({TEMPLATE})")
    ids: dict[str, int] = {}
    for name in ("bos_token", "eos_token", "pad_token"):
        token = config.get(name)
        text = token["content"] if isinstance(token, dict) else token
        if text is None:
            continue
        found = tokenizer.token_to_id(text)
        if found is None:
            raise DataError(
                f"{path / 'tokenizer_config.json'}: {name} {text!r} is not in the vocabulary"
            )
        ids[name] = found
    if "eos_token" not in ids:
        raise DataError(
            f"{path / 'tokenizer_config.json'} names no eos_token: generation would never stop"
        )
    end = ids["eos_token"]
    return TokenIds(begin=ids.get("bos_token"), end_of_turn=end, pad=ids.get("pad_token", end))


def model_config(
    base: dict[str, Any], model: ModelParams, ids: TokenIds, dtype: Literal["float32", "bfloat16"]
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
    path: Path, config: dict[str, Any], base_generation: dict[str, Any], ids: TokenIds
) -> None:
    """Writes config.json and generation_config.json into a directory."""
    write_json(path / "config.json", config)
    write_json(path / "generation_config.json", {**base_generation, **ids.for_config()})


def copy_tokenizer(source: Path, destination: Path) -> None:
    """Copies the files of a tokenizer directory, chat template included."""
    for file in tree_files(source):
        shutil.copyfile(file, destination / file.name)
