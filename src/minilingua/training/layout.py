"""How a number of ranks shares a training, or why it cannot. Needs no torch.

    ranks = tensor x context x pipeline x data       Megatron's order: tensor ranks are neighbours

tensor      shares each layer's matrices (and, with ``sequence``, the rows between them)
pipeline    shares the layers
context     shares each conversation
data        shares the packs of a step: whatever number of ranks is left
"""

from dataclasses import dataclass

from minilingua.core.errors import ParamsError
from minilingua.params import ModelParams, ParallelParams, Params, TrainParams

_SHOWN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A layout that fits the model."""

    tensor: int = 1
    sequence: bool = False
    pipeline: int = 1
    context: int = 1
    data: int = 1
    fully_sharded: bool = False

    @property
    def ranks(self) -> int:
        """Number of processes."""
        return self.tensor * self.pipeline * self.context * self.data

    def explain(self) -> str:
        """Returns the layout in a few words."""
        parts = [
            f"{name} {size}"
            for name, size in (
                ("data", self.data),
                ("tensor", self.tensor),
                ("context", self.context),
                ("pipeline", self.pipeline),
            )
            if size > 1
        ]
        parts += ["sequence parallel"] if self.sequence else []
        parts += ["fully sharded"] if self.fully_sharded and self.ranks > 1 else []
        return ", ".join(parts) or "one rank"


def model_parallel_ranks(parallel: ParallelParams) -> int:
    """Returns how many ranks hold one copy of the model: the least that a training needs."""
    return parallel.tensor * parallel.pipeline * parallel.context


def plan_layout(params: Params, ranks: int) -> Layout:
    """Returns how ``ranks`` processes share the training.

    Raises:
        ParamsError: ``train.parallel`` does not fit the model, the number of ranks or itself; the
            message says what would.
    """
    parallel, model = params.train.parallel, params.model
    _check_context(parallel, model)
    _check_model(parallel, model)
    _check_fully_sharded(params.train)
    if parallel.sequence and parallel.tensor == 1:
        raise ParamsError(
            "params.yaml: train.parallel.sequence shares rows among tensor-parallel ranks, but "
            "train.parallel.tensor is 1; set sequence to false, or tensor to "
            + _or_list(_tensor_sizes(model)[1:])
        )
    least = model_parallel_ranks(parallel)
    if ranks < 1 or ranks % least:
        raise ParamsError(
            f"params.yaml: train.parallel: tensor {parallel.tensor} x pipeline {parallel.pipeline}"
            + (f" x context {parallel.context}" if parallel.context > 1 else "")
            + f" needs a multiple of {least} ranks, there are {ranks}; with {ranks} would fit: "
            + _fitting(model, ranks)
        )
    return Layout(
        tensor=parallel.tensor,
        sequence=parallel.sequence,
        pipeline=parallel.pipeline,
        context=parallel.context,
        data=ranks // least,
        fully_sharded=parallel.fully_sharded,
    )


def _check_context(parallel: ParallelParams, model: ModelParams) -> None:
    # Each rank gets two equal chunks of a conversation, also of one as long as the model allows.
    fits = [
        size for size in _divisors(model.max_positions) if model.max_positions % (2 * size) == 0
    ]
    if parallel.context > 1 and parallel.context not in fits:
        raise ParamsError(
            f"params.yaml: train.parallel.context {parallel.context}: twice as many chunks do not "
            f"divide the model's {model.max_positions} positions; would fit: {_or_list(fits)}"
        )


def _check_fully_sharded(train: TrainParams) -> None:
    parallel = train.parallel
    if not parallel.fully_sharded:
        return
    others = {
        "train.parallel.tensor": (parallel.tensor, 1),
        "train.parallel.pipeline": (parallel.pipeline, 1),
        "train.parallel.distributed_optimizer": (parallel.distributed_optimizer, False),
        "train.parallel.overlap": (parallel.overlap, False),
    }
    for name, (value, needed) in others.items():
        if value != needed:
            raise ParamsError(
                f"params.yaml: train.parallel.fully_sharded shares all that the data-parallel "
                f"ranks hold, by itself; {name} is {value}, set it to {needed}"
            )
    if train.precision == "fp8":
        raise ParamsError(
            "params.yaml: train.parallel.fully_sharded works in fp32 and bf16, "
            "train.precision is fp8"
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
