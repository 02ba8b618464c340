"""The optimizer's state by parameter, the same whatever class of Megatron's holds it.

    FP32Optimizer                        the parameter is its own fp32 weight
    Float16OptimizerWithFloat16Params    bf16 parameter, fp32 weight beside it
    DistributedOptimizer                 each data-parallel rank holds a run of each parameter
    FP32Optimizer, fully sharded         parameter, weight and moments are torch's ``DTensor``

What is read has the parameter's shape, so that a state saved in one layout is loaded in another.
Megatron's own states differ by class, and the distributed one's does not survive loading: with
torch's AdamW all parameters then share one step counter.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor, distribute_tensor

WEIGHT = "weight"
MOMENTS = ("exp_avg", "exp_avg_sq")
"""First and second moment, as torch's AdamW calls them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What this rank holds of one parameter."""

    parameter: nn.Parameter
    main: Tensor | None
    """fp32 weights, or None: another rank has them all."""
    begin: int
    end: int
    """Which elements of the flat parameter ``main`` is."""
    inner: Any
    """torch's optimizer."""
    options: dict[str, Any] | None
    """The parameter group of ``main``."""
    ranks: Any
    """The data-parallel ranks that share the parameter, or None: this rank holds it whole."""


def read_weight(optimizer: Any, parameter: nn.Parameter) -> Tensor:
    """Returns the fp32 weight of a parameter, in its shape. All ranks call it together."""
    return _whole(_held(optimizer)[parameter], WEIGHT)


def read_state(optimizer: Any, *, writes: bool = True) -> dict[nn.Parameter, dict[str, Tensor]]:
    """Returns fp32 weight and moments of every parameter, copied to the CPU, in its shape.

    Before the first step the moments are zero. All ranks call it together.

    Args:
        optimizer: Megatron's.
        writes: this rank writes what it holds. Of data-parallel ranks, which hold the same, the
            first one does; the others need the shapes alone, and no memory for copies.
    """
    device = "cpu" if writes else "meta"
    return {
        parameter: {name: _whole(held, name).to(device, copy=True) for name in (WEIGHT, *MOMENTS)}
        for parameter, held in _held(optimizer).items()
    }


def read_step(optimizer: Any) -> int:
    """Returns how many steps the optimizer has taken."""
    for held in _held(optimizer).values():
        if held.main is not None and (state := held.inner.state.get(held.main)):
            step = state["step"] if "step" in state else (held.options or {})["step"]
            return int(step)
    return 0


def write_state(
    optimizer: Any, states: Mapping[nn.Parameter, Mapping[str, Tensor]], step: int
) -> None:
    """Sets weights, moments and the step counter; undoes ``read_state``."""
    with torch.no_grad():
        for parameter, held in _held(optimizer).items():
            state = states[parameter]
            if held.main is not parameter:
                parameter.copy_(state[WEIGHT])
            if held.main is None:
                continue
            held.main.copy_(_part(held, state[WEIGHT]))
            new: dict[str, Tensor] = {
                name: _part(held, state[name]).to(held.main.device, copy=True) for name in MOMENTS
            }
            assert held.options is not None
            if type(held.inner).__name__ == "FusedAdam":  # TransformerEngine's counts by group
                held.options["step"] = step
            else:  # each parameter its own tensor: the optimizer adds to it in place
                device = held.main.device if held.options.get("fused") else "cpu"
                new["step"] = torch.tensor(float(step), device=device)
            held.inner.state[held.main] = new


def _held(optimizer: Any) -> dict[nn.Parameter, _Held]:
    parts = getattr(optimizer, "chained_optimizers", [optimizer])
    return {held.parameter: held for part in parts for held in _held_by(part)}


def _held_by(part: Any) -> Iterator[_Held]:
    if hasattr(part, "gbuf_ranges"):
        yield from _distributed(part)
        return
    parameters = _parameters_by_main(part)
    for options in part.optimizer.param_groups:
        for main in options["params"]:
            yield _Held(
                parameter=parameters.get(main, main),
                main=main,
                begin=0,
                end=main.numel(),
                inner=part.optimizer,
                options=options,
                ranks=None,
            )


def _parameters_by_main(part: Any) -> dict[Tensor, nn.Parameter]:
    """fp32 weight ─► bf16 parameter, of Megatron's mixed-precision optimizer."""
    groups = zip(
        getattr(part, "float16_groups", []),
        getattr(part, "fp32_from_float16_groups", []),
        strict=True,
    )
    return {
        main: parameter
        for parameters, mains in groups
        for parameter, main in zip(parameters, mains, strict=True)
    }


def _distributed(part: Any) -> Iterator[_Held]:
    for buffer in part.buffers:
        for parameter in buffer.param_index_map:
            place = part.model_param_group_index_map.get(parameter)
            if place is None:
                yield _Held(
                    parameter=parameter,
                    main=None,
                    begin=0,
                    end=0,
                    inner=part.optimizer,
                    options=None,
                    ranks=part.data_parallel_group,
                )
                continue
            index, order = place
            options = part.optimizer.param_groups[index]
            run = part._get_model_param_range_map(parameter)["param"]
            yield _Held(
                parameter=parameter,
                main=options["params"][order],
                begin=run.start,
                end=run.end,
                inner=part.optimizer,
                options=options,
                ranks=part.data_parallel_group,
            )


def _whole(held: _Held, name: str) -> Tensor:
    """Returns one value of a parameter in its shape, gathered if ranks share it."""
    own = _value(held, name)
    if held.ranks is None:
        assert own is not None  # not shared: it is here
        own = own.detach()
        return (own.full_tensor() if isinstance(own, DTensor) else own).view(held.parameter.shape)
    flat = torch.zeros(held.parameter.numel(), device=held.parameter.device)
    if own is not None:
        flat[held.begin : held.end] = own.detach().view(-1)
    # Each element is set on one rank: adding the bit patterns keeps them, and the sign of zeros.
    distributed.all_reduce(flat.view(torch.int32), group=held.ranks)
    return flat.view(held.parameter.shape)


def _value(held: _Held, name: str) -> Tensor | None:
    if held.main is None or name == WEIGHT:
        return held.main
    state = held.inner.state.get(held.main)
    value: Tensor = state[name] if state else torch.zeros_like(held.main)
    return value


def _part(held: _Held, whole: Tensor) -> Tensor:
    assert held.main is not None
    if isinstance(held.main, DTensor):
        whole = whole.to(held.main.device)
        mesh, placements = held.main.device_mesh, held.main.placements
        return distribute_tensor(whole, mesh, placements, src_data_rank=None)  # all have it
    return whole.reshape(-1)[held.begin : held.end].view(held.main.shape)
