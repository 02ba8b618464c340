"""How a number of ranks shares a training, or why it cannot. Needs no torch.

    ranks = tensor x context x pipeline x data       Megatron's order: tensor ranks are neighbours

tensor      shares each layer's matrices (and, with ``sequence``, the rows between them)
pipeline    shares the layers
context     shares each sequence
data        shares the packs of a step: whatever number of ranks is left
"""

import importlib.util
from dataclasses import dataclass

from minilingua.core.errors import ParamsError
from minilingua.params import ModelParams, ParallelParams, Params

_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A layout that fits the model."""

    tensor: int = 1
    sequence: bool = False
    pipeline: int = 1
    data: int = 1

    @property
    def ranks(self) -> int:
        """Number of processes."""
        return self.tensor * self.pipeline * self.data

    def explain(self) -> str:
        """Returns the layout in a few words."""
        parts = [
            f"{name} {size}"
            for name, size in (
                ("data", self.data),
                ("tensor", self.tensor),
                ("pipeline", self.pipeline),
            )
            if size > 1
        ]
        sequence = ["sequence parallel"] if self.sequence else []
        return ", ".join(parts + sequence) or "one rank"


def model_parallel_ranks(parallel: ParallelParams) -> int:
    """Returns how many ranks hold one copy of the model: the least that a training needs."""
    return parallel.tensor * parallel.pipeline * parallel.context


def plan_layout(params: Params, ranks: int) -> Layout:
    """Returns how ``ranks`` processes share the training.

    Raises:
        ParamsError: ``train.parallel`` does not fit the model, the number of ranks or what is
            installed; the message says what would.
    """
    parallel, model = params.train.parallel, params.model
    _check_context(parallel)
    _check_model(parallel, model)
    if parallel.sequence and parallel.tensor == 1:
        raise ParamsError(
            "params.yaml: train.parallel.sequence shares rows among tensor-parallel ranks, but "
            "train.parallel.tensor is 1; set sequence to false, or tensor to "
            + _or_list(_tensor_sizes(model)[1:])
        )
    least = model_parallel_ranks(parallel)
    if ranks < 1 or ranks % least:
        raise ParamsError(
            f"params.yaml: train.parallel: tensor {parallel.tensor} x pipeline {parallel.pipeline} "
            f"needs a multiple of {least} ranks, there are {ranks}; with {ranks} would fit: "
            f"{_fitting(model, ranks)}"
        )
    return Layout(
        tensor=parallel.tensor,
        sequence=parallel.sequence,
        pipeline=parallel.pipeline,
        data=ranks // least,
    )


def _check_context(parallel: ParallelParams) -> None:
    if parallel.context == 1:
        return
    if importlib.util.find_spec("transformer_engine") is None:
        raise ParamsError(
            f"params.yaml: train.parallel.context {parallel.context} needs TransformerEngine, "
            "which is not installed; set it to 1"
        )
    raise ParamsError(
        f"params.yaml: train.parallel.context {parallel.context} is not built yet: packs are not "
        "cut among context-parallel ranks; set it to 1"
    )


def _check_model(parallel: ParallelParams, model: ModelParams) -> None:
    tensor, pipeline = _tensor_sizes(model), _divisors(model.layers)
    if parallel.tensor not in tensor:
        raise ParamsError(
            f"params.yaml: train.parallel.tensor {parallel.tensor} does not divide the model's "
            f"{model.attention_heads} heads, {model.kv_groups} key-value groups and feed-forward "
            f"of {model.ffn_hidden_size}; would fit: {_or_list(tensor)}"
        )
    if parallel.pipeline not in pipeline:
        raise ParamsError(
            f"params.yaml: train.parallel.pipeline {parallel.pipeline} does not divide the model's "
            f"{model.layers} layers; would fit: {_or_list(pipeline)}"
        )


def _tensor_sizes(model: ModelParams) -> list[int]:
    return [
        size
        for size in _divisors(model.kv_groups)
        if model.attention_heads % size == 0 and model.ffn_hidden_size % size == 0
    ]


def _fitting(model: ModelParams, ranks: int) -> str:
    fits = [
        (tensor, pipeline)
        for tensor in _tensor_sizes(model)
        for pipeline in _divisors(model.layers)
        if ranks >= 1 and ranks % (tensor * pipeline) == 0
    ]
    fits.sort(key=lambda sizes: (sizes[0] * sizes[1], sizes))
    return "; ".join(f"tensor {t} x pipeline {p}" for t, p in fits[-_SHOWN:]) or "nothing"


def _divisors(number: int) -> list[int]:
    return [size for size in range(1, number + 1) if number % size == 0]


def _or_list(sizes: list[int]) -> str:
    return " or ".join(map(str, sizes)) if sizes else "nothing: the model cannot be cut"
