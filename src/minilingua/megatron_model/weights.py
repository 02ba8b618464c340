"""Moves full weights into a built model and out of it, whatever the layout of the ranks.

full, unpadded tensors by Megatron name (weight_map)
    │ load_tensors: every rank takes the layers, and the share of each tensor, that it holds
    ▼
parameters of this rank
    │ gather_tensors: tensor-parallel ranks join their shares, stages send theirs to the first
    ▼
full, unpadded tensors on rank 0
"""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, distributed, nn

from minilingua.megatron_model.backends import Backend
from minilingua.megatron_model.build import PackedGPTModel
from minilingua.megatron_model.megatron import parallel_state
from minilingua.megatron_model.sharding import join_shares, share_of
from minilingua.megatron_model.weight_map import (
    TE_NAMES,
    VOCABULARY_TENSORS,
    MapRow,
    check_shapes,
    map_rows,
    megatron_shapes,
)
from minilingua.params import ModelParams

_LAYERS = "decoder.layers."


def load_tensors(module: PackedGPTModel, tensors: Mapping[str, Tensor], model: ModelParams) -> None:
    """Copies full, unpadded Megatron tensors (see ``weight_map``) into this rank's parameters.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape.
    """
    check_shapes(tensors, megatron_shapes(model, module.unpadded_vocab_size), "weights")
    rank = parallel_state.get_tensor_model_parallel_rank()
    ranks = parallel_state.get_tensor_model_parallel_world_size()
    with torch.no_grad():
        for row, target in _held(module, model):
            source = tensors[row.megatron]
            if row.megatron in VOCABULARY_TENSORS:
                rows = target.shape[0]
                target.zero_()
                source = source[rank * rows : (rank + 1) * rows]
                target[: source.shape[0]].copy_(source)
            else:
                target.copy_(share_of(source, target, row.join, rank, ranks))
        copy = _tied_copy(module)
        if copy is not None:
            rows = copy.shape[0]
            source = tensors[VOCABULARY_TENSORS[0]][rank * rows : (rank + 1) * rows]
            copy.zero_()
            copy[: source.shape[0]].copy_(source)


def read_tensors(
    module: PackedGPTModel,
    model: ModelParams,
    value_of: Callable[[nn.Parameter], Tensor] = lambda parameter: parameter.detach(),
) -> dict[str, Tensor]:
    """Returns the weights as full, unpadded fp32 tensors on the CPU, by Megatron name.

    All ranks call it together; on others than rank 0 the result is not complete.

    Args:
        module: this rank's part of the model.
        model: its shape.
        value_of: gives what to read for a parameter, in its shape: in mixed precision the
            optimizer's fp32 weight.
    """
    found = {
        row.megatron: _join(row, parameter, value_of(parameter), module)
        for row, parameter in _held(module, model)
    }
    stages = parallel_state.get_pipeline_model_parallel_world_size()
    return found if stages == 1 else _from_all_stages(found, model, module.unpadded_vocab_size)


def module_name(name: str, backend: Backend) -> str:
    """Returns what the built model calls a tensor of the weight map."""
    if backend == "te":
        for own, of_te in TE_NAMES.items():
            name = name.replace(own, of_te)
    return name


def _held(module: PackedGPTModel, model: ModelParams) -> Iterator[tuple[MapRow, nn.Parameter]]:
    """Yields the rows of the weight map that this rank's pipeline stage holds."""
    own = dict(module.named_parameters())
    first = module.decoder.layers[0].layer_number - 1
    for row in map_rows(model):
        name = module_name(row.megatron, module.backend)
        if name.startswith(_LAYERS):
            layer, _, rest = name.removeprefix(_LAYERS).partition(".")
            name = f"{_LAYERS}{int(layer) - first}.{rest}"
        if name in own:
            yield row, own[name]


def _tied_copy(module: PackedGPTModel) -> nn.Parameter | None:
    """Returns the last stage's own copy of a tied embedding, if this rank has one."""
    if not module.share_embeddings_and_output_weights or module.pre_process:
        return None
    copy: nn.Parameter | None = module.output_layer.weight if module.post_process else None
    return copy


def _join(row: MapRow, parameter: nn.Parameter, value: Tensor, module: PackedGPTModel) -> Tensor:
    ranks = parallel_state.get_tensor_model_parallel_world_size()
    value = value.detach().to(torch.float32).view(parameter.shape)
    if ranks > 1 and getattr(parameter, "tensor_model_parallel", False):
        shares = [torch.empty_like(value) for _ in range(ranks)]
        group = parallel_state.get_tensor_model_parallel_group()
        distributed.all_gather(shares, value.contiguous(), group=group)
        value = join_shares(shares, parameter, row.join)
    if row.megatron in VOCABULARY_TENSORS:
        value = value[: module.unpadded_vocab_size]
    return value.to("cpu", copy=True).contiguous()


def _from_all_stages(
    found: dict[str, Tensor], model: ModelParams, vocab_size: int
) -> dict[str, Tensor]:
    """Sends every stage's tensors to the first one."""
    group = parallel_state.get_pipeline_model_parallel_group()
    stage = parallel_state.get_pipeline_model_parallel_rank()
    first = parallel_state.get_pipeline_model_parallel_first_rank()
    device = "cuda" if distributed.get_backend(group) == "nccl" else "cpu"
    held: list[list[str]] = [[] for _ in range(distributed.get_world_size(group))]
    distributed.all_gather_object(held, list(found), group=group)
    shapes = megatron_shapes(model, vocab_size)
    senders = distributed.get_process_group_ranks(group)
    for number, names in enumerate(held[1:], start=1):
        for name in names:
            if stage == number:
                distributed.send(found[name].to(device), dst=first, group=group)
            elif stage == 0:
                arriving = torch.empty(shapes[name], device=device)
                distributed.recv(arriving, src=senders[number], group=group)
                found[name] = arriving.cpu()
    return {name: found[name] for name in shapes if name in found}
