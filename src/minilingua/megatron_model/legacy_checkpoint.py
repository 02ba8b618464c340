"""Reads weights of Megatron-LM's legacy checkpoints (``--ckpt-format torch``).

    DIRECTORY/latest_checkpointed_iteration.txt              which one
    DIRECTORY/iter_0001000/mp_rank_<TP>[_<PP>]/model_optim_rng.pt

Each file is a pickle of one rank: ``args`` (a Namespace), ``model`` (its share of the weights,
layers counted from 0 in each pipeline stage), and optimizer and random states, which are not
looked at. Unpickling is torch's restricted one. What else such a file names (enums of Megatron,
states of numpy) becomes an inert placeholder: none of it is imported, and none of it is run.

Source: ``megatron/training/checkpointing.py`` of Megatron-LM.
"""

import argparse
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minilingua.core.errors import CheckpointError, MissingInputError
from minilingua.megatron_model.weight_map import (
    TE_NAMES,
    VOCABULARY_TENSORS,
    Join,
    check_shapes,
    map_rows,
    megatron_shapes,
    megatron_to_hf,
)
from minilingua.params import ModelParams

FILE = "model_optim_rng.pt"
LATEST = "latest_checkpointed_iteration.txt"
_RANK = re.compile(r"mp_rank_(\d\d)(?:_(\d\d\d))?")
_LAYER = re.compile(r"decoder\.layers\.(\d+)\.(.*)")
_FIXED = {
    "normalization": "RMSNorm",
    "swiglu": True,
    "position_embedding_type": "rope",
    "rotary_percent": 1.0,
    "rotary_interleaved": False,
    "apply_layernorm_1p": False,
    "use_rope_scaling": False,
}
"""Arguments that a Llama was trained with; the shapes of its tensors do not tell them."""
_CUT_ALONG_COLUMNS = ("linear_proj.weight", "linear_fc2.weight")
"""Row-parallel layers; norms are whole on every rank, all others are cut along their rows."""
_HARMFUL = frozenset({"builtins", "nt", "os", "posix", "runpy", "subprocess", "sys"})
"""Modules that a checkpoint has no reason to name; of builtins, what is not plain data."""
_NAME_OF_TE = {te: name for name, te in TE_NAMES.items()}

Weights = dict[str, Tensor]


def read_legacy(path: Path, model: ModelParams, vocab_size: int) -> tuple[Weights, str]:
    """Returns the weights by Hugging Face name in the checkpoint's own dtype, and what was read.

    Args:
        path: a directory with ``latest_checkpointed_iteration.txt``, or one checkpoint in it.
        model: the shape that it must have.
        vocab_size: tokens; the rows that pad Megatron's vocabulary are left out.

    Raises:
        MissingInputError: there is no checkpoint, or a rank's file is missing.
        CheckpointError: it is of another kind, shape or architecture, or not a whole file.
    """
    iteration = _iteration(path)
    stages = [[_read_rank(file, model) for file in files] for files in _rank_files(iteration)]
    joins = {row.megatron: row.join for row in map_rows(model)}
    tensors = {
        name: _joined(name, joins.get(name, "copy"), shares)
        for name, shares in _shares(stages, model, iteration).items()
    }
    for name in set(VOCABULARY_TENSORS) & set(tensors):
        rows = len(tensors[name])
        if rows < vocab_size:
            raise CheckpointError(
                f"{iteration}: {name} has {rows} rows, the tokenizer has {vocab_size} tokens"
            )
        tensors[name] = tensors[name][:vocab_size].clone()
    check_shapes(tensors, megatron_shapes(model, vocab_size), str(iteration))
    return megatron_to_hf(tensors, model), iteration.name


def _iteration(path: Path) -> Path:
    """Returns the directory of the checkpoint's ranks."""
    latest = path / LATEST
    if latest.is_file():
        named = latest.read_text(encoding="utf-8").strip()
        name = f"iter_{int(named):07d}" if named.isdecimal() else named
        path = path / name
        if not path.is_dir():
            raise MissingInputError(f"{path} is missing; {latest} names it")
    if (path / ".metadata").exists() or (path / "metadata.json").exists():
        raise CheckpointError(
            f"{path}: is a distributed checkpoint (torch_dist), not one of `--ckpt-format torch`; "
            "Megatron-LM's tools/checkpoint/convert.py makes one of it"
        )
    return path


def _rank_files(iteration: Path) -> list[list[Path]]:
    """Returns the files of every pipeline stage, each by tensor-parallel rank."""
    found: dict[tuple[int, int], Path] = {}
    for directory in sorted(iteration.glob("mp_rank_*")):
        ranks = _RANK.fullmatch(directory.name)
        if ranks:
            found[int(ranks[2] or 0), int(ranks[1])] = directory / FILE
    if not found:
        raise MissingInputError(
            f"{iteration}: holds no mp_rank_00/{FILE}; base.path names a Megatron-LM checkpoint"
        )
    stages, ranks_of_a_stage = (1 + max(key[side] for key in found) for side in (0, 1))
    for place in ((p, t) for p in range(stages) for t in range(ranks_of_a_stage)):
        if place not in found or not found[place].is_file():
            name = f"mp_rank_{place[1]:02d}" + f"_{place[0]:03d}" * (stages > 1)
            raise MissingInputError(f"{iteration / name / FILE} is missing; other ranks are there")
    return [[found[p, t] for t in range(ranks_of_a_stage)] for p in range(stages)]


class _Inert:
    """Stands for whatever a file names: takes any state and does nothing."""

    def __new__(cls, *_arguments: object) -> "_Inert":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def _read_rank(file: Path, model: ModelParams) -> Weights:
    """Returns one rank's tensors by the names of the weight map, its layers counted from 0."""
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(file)
        harmful = sorted(name for name in named if name.partition(".")[0] in _HARMFUL)
        if harmful:
            raise CheckpointError(
                f"{file}: names {', '.join(harmful)}, as no checkpoint of Megatron-LM does; "
                "it was not read"
            )
        allowed: list[Any] = [
            (argparse.Namespace if name == "argparse.Namespace" else _Inert, name) for name in named
        ]
        with torch.serialization.safe_globals(allowed):
            content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{file}: is not a whole checkpoint of torch: {reason}") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("model"), Mapping):
        virtual = isinstance(content, Mapping) and "model0" in content
        why = "has virtual pipeline stages (model0, ..)" if virtual else "holds no 'model'"
        raise CheckpointError(f"{file}: {why}; only one part of the model a rank can be read")
    _check_arguments(file, content.get("args"), model)
    return {
        _own_name(name): tensor
        for name, tensor in content["model"].items()
        if isinstance(tensor, Tensor) and not name.endswith("_extra_state")
    }


def _check_arguments(file: Path, arguments: object, model: ModelParams) -> None:
    wanted = _FIXED | {
        "rotary_base": model.rope_base,
        "norm_epsilon": model.norm_epsilon,
        "untie_embeddings_and_output_weights": not model.tied_embeddings,
    }
    for name, value in wanted.items():
        found = getattr(arguments, name, None)
        if found is not None and found != value and not isinstance(found, _Inert):
            raise CheckpointError(
                f"{file}: was trained with {name} {found!r}, the model of params.yaml has {value!r}"
            )


def _own_name(name: str) -> str:
    layer = _LAYER.fullmatch(name)
    if layer is None:
        return name
    return f"decoder.layers.{layer[1]}.{_NAME_OF_TE.get(layer[2], layer[2])}"


def _shares(
    stages: list[list[Weights]], model: ModelParams, iteration: Path
) -> dict[str, list[Tensor]]:
    """Returns the shares of each tensor by tensor-parallel rank, its layers counted from 0."""
    shares: dict[str, list[Tensor]] = {}
    first = 0
    for ranks in stages:
        layers = 0
        for name in ranks[0]:
            layer = _LAYER.fullmatch(name)
            whole = name
            if layer is not None:
                layers = max(layers, int(layer[1]) + 1)
                whole = f"decoder.layers.{first + int(layer[1])}.{layer[2]}"
            # Of tied embeddings the last stage has a copy, under the output layer's name.
            if whole == VOCABULARY_TENSORS[1] and model.tied_embeddings:
                continue
            try:
                shares[whole] = [rank[name] for rank in ranks]
            except KeyError as error:
                raise CheckpointError(
                    f"{iteration}: a rank lacks {name}, others have it"
                ) from error
        first += layers
    return shares


def _joined(name: str, join: Join, shares: list[Tensor]) -> Tensor:
    """Returns the full tensor of the shares of tensor-parallel ranks."""
    if len(shares) == 1 or shares[0].dim() == 1:
        return shares[0]
    if join == "stack":
        halves = [share.chunk(2) for share in shares]
        return torch.cat([gate for gate, _ in halves] + [up for _, up in halves])
    return torch.cat(shares, dim=1 if name.endswith(_CUT_ALONG_COLUMNS) else 0)
