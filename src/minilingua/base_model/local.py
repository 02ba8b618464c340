"""A Hugging Face model in a directory: checked against params.model and the tokenizer, copied."""

import json
import re
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minilingua.base_model.llama import (
    ARCHITECTURE,
    Vocabulary,
    generation_config,
    shape_keys,
)
from minilingua.core.errors import CheckpointError
from minilingua.core.files import read_json, require, write_json
from minilingua.llama_shapes import OUTPUT, tensor_shapes
from minilingua.params import ModelParams

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_UNSAFE = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Pickles: reading one can run whatever its author put in."""
_DTYPES = {"F32", "BF16", "F16"}
_SHOWN = 8
"""Tensors that do not fit and are named."""
_PARAMETER = {  # key of config.json ─► key of params.yaml
    "hidden_size": "model.hidden_size",
    "intermediate_size": "model.ffn_hidden_size",
    "num_hidden_layers": "model.layers",
    "num_attention_heads": "model.attention_heads",
    "num_key_value_heads": "model.kv_groups",
    "tie_word_embeddings": "model.tied_embeddings",
    "rope_theta": "model.rope_base",
    "rms_norm_eps": "model.norm_epsilon",
    "max_position_embeddings": "model.max_positions",
}


def copy_local(source: Path, destination: Path, model: ModelParams, vocabulary: Vocabulary) -> None:
    """Copies configuration and weights into a directory, after checking them.

    Raises:
        MissingInputError: config.json or a file of weights is missing.
        CheckpointError: it is another architecture, or differs from params.model or the
            tokenizer; one line for each difference.
    """
    config_file = require(source / "config.json", "save_pretrained")
    config = read_json(config_file)
    problems = _config_problems(config, model, vocabulary)
    files = _weight_files(source)
    if not problems:  # with another shape every tensor would differ
        expected = tensor_shapes(model, int(config["vocab_size"]))
        problems = _tensor_problems(source, files, expected)
        if len(problems) > _SHOWN:  # hundreds, of another model
            problems[_SHOWN:] = [f"{len(problems) - _SHOWN} more tensors do not fit"]
    if problems:
        raise CheckpointError("\n".join(f"{source}: {problem}" for problem in problems))
    names = ["config.json", *files]
    if (source / INDEX).exists() and WEIGHTS not in files:
        names.append(INDEX)
    for name in names:
        shutil.copyfile(source / name, destination / name)
    given = source / "generation_config.json"
    if given.exists():
        shutil.copyfile(given, destination / given.name)
    else:
        write_json(destination / given.name, generation_config(vocabulary))


def choose_files(paths: Iterable[str]) -> list[str]:
    """Returns the files of a repository that ``copy_local`` needs.

    Raises:
        CheckpointError: its weights are in no format that is safe to read.
    """
    there = set(paths)
    weights = [WEIGHTS] if WEIGHTS in there else sorted(filter(_SHARD.fullmatch, there))
    if not weights:
        others = sorted(path for path in there if path.endswith(_UNSAFE))
        raise CheckpointError(
            f"there is no {WEIGHTS}"
            + f"; {', '.join(others)} can run code when read, and never is" * bool(others)
        )
    index = [INDEX] if WEIGHTS not in there else []
    return ["config.json", *weights] + [
        name for name in (*index, "generation_config.json") if name in there
    ]


def read_header(file: Path) -> dict[str, Any]:
    """Returns name ─► ``{"dtype", "shape", ..}`` of a safetensors file without its weights.

    Raises:
        CheckpointError: it is not a safetensors file, or is shorter than its header says.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:
                raise ValueError("header is longer than the file")
            header: dict[str, Any] = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        if size != 8 + length + end:
            raise ValueError(f"has {size} bytes instead of {8 + length + end}")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file}: not a complete safetensors file: {error}") from error
    return header


def _config_problems(
    config: dict[str, Any], model: ModelParams, vocabulary: Vocabulary
) -> list[str]:
    if config.get("architectures") != [ARCHITECTURE]:
        return [f"architectures is {config.get('architectures')}, only {ARCHITECTURE} is supported"]
    if "auto_map" in config:
        return ["config.json names code of its own (auto_map), which is never run"]
    found = {
        # Keys that a configuration may leave out, with what their absence means.
        "num_key_value_heads": config.get("num_attention_heads"),
        "head_dim": _head_dim(config),
        "tie_word_embeddings": False,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        **{key: value for key, value in config.items() if value is not None},
    }
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        return [f"rope_parameters or rope_scaling is {rope!r}, no object"]
    found["rope_theta"] = rope.get("rope_theta", config.get("rope_theta", 10000.0))
    problems = [
        f"{key} is {found.get(key)!r} where {_PARAMETER.get(key, 'this platform')} "
        f"{'is' if key in _PARAMETER else 'supports only'} {wanted!r}"
        for key, wanted in shape_keys(model).items()
        if found.get(key) != wanted
    ]
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type != "default":
        problems.append(f"rope_type is {rope_type!r}, only 'default' is supported")
    if not isinstance(found.get("vocab_size"), int) or found["vocab_size"] < vocabulary.size:
        problems.append(
            f"vocab_size is {found.get('vocab_size')!r}, less than the {vocabulary.size} tokens "
            "of models/tokenizer"
        )
    return problems


def _head_dim(config: dict[str, Any]) -> int | None:
    try:
        return int(config["hidden_size"]) // int(config["num_attention_heads"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None  # the missing key is a problem of its own


def _weight_files(source: Path) -> dict[str, set[str] | None]:
    """Returns the files of weights, each with the tensors that the index says are in it, if any."""
    if (source / WEIGHTS).exists() or not (source / INDEX).exists():
        require(source / WEIGHTS, "save_pretrained with safetensors")
        return {WEIGHTS: None}
    index = read_json(source / INDEX).get("weight_map")
    if not isinstance(index, dict) or not all(
        isinstance(name, str) and name.endswith(".safetensors") and "/" not in name
        for name in index.values()
    ):
        raise CheckpointError(f"{source / INDEX}: no weight_map of names of safetensors files")
    files: dict[str, set[str] | None] = {}
    for file in sorted(set(index.values())):
        require(source / file, "save_pretrained with safetensors")
        files[file] = {tensor for tensor, place in index.items() if place == file}
    return files


def _tensor_problems(
    source: Path, files: dict[str, set[str] | None], expected: dict[str, tuple[int, ...]]
) -> list[str]:
    found: dict[str, Any] = {}
    problems = []
    for file, listed in files.items():
        header = read_header(source / file)
        found |= header
        # Readers that follow the index would find other tensors than those that do not.
        for name in sorted(header.keys() ^ (header.keys() if listed is None else listed)):
            there, told = ("is", "is not") if name in header else ("is not", "is")
            problems.append(f"tensor {name} {there} in {file}, but {INDEX} says it {told}")
    if OUTPUT not in expected:
        found.pop(OUTPUT, None)  # some exports store the tied matrix twice
    problems += [f"tensor {name} is missing" for name in expected if name not in found]
    problems += [f"tensor {name} is not one of a Llama's" for name in found if name not in expected]
    for name, shape in expected.items():
        entry = found.get(name)
        if entry is None:
            continue
        if tuple(entry["shape"]) != shape:
            problems.append(f"tensor {name} has shape {entry['shape']} instead of {list(shape)}")
        if entry["dtype"] not in _DTYPES:
            problems.append(f"tensor {name} is {entry['dtype']}, not one of {sorted(_DTYPES)}")
    return problems
