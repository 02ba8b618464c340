"""RMSNorm and SwiGLU in few passes over memory, which is what they cost on a CPU.

torch composes both of elementary operations there, and their backward passes touch every
activation up to ten times; these touch it about three times. Elsewhere torch's own are used.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from minilingua.megatron_model.megatron import MegatronModule, TransformerConfig


class RMSNorm(nn.Module):
    """Root mean square normalisation (Zhang and Sennrich, 2019), over the last dimension.

    Megatron's ``WrappedTorchNorm`` refuses sequence parallelism; this one marks its weight, so that
    Megatron sums its gradient over the tensor-parallel ranks.
    """

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(hidden_size, dtype=config.params_dtype))
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]  # read by Megatron

    def forward(self, x: Tensor) -> Tensor:
        """Returns x of any shape [.., h], normalised and scaled."""
        if x.device.type == "cpu" and x.dtype == torch.float32:
            return _cpu_rms_norm(x, self.weight, self.eps)
        return functional.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class _CpuRmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        rows = x.flatten(0, -2)
        norm = torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
        scale = norm.square_().div_(rows.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(rows, weight, scale)
        normalised: Tensor = (rows * scale).mul_(weight).view_as(x)
        return normalised

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        rows, weight, scale = ctx.saved_tensors
        grad_rows = grad.flatten(0, -2)
        product = grad_rows * rows
        grad_weight = torch.mv(product.t(), scale.squeeze(1))
        along = torch.mv(product, weight).unsqueeze(1).mul_(scale.pow(3)).div_(rows.shape[-1])
        grad_x = (grad_rows * weight).mul_(scale).addcmul_(rows, along, value=-1)
        return grad_x.view_as(grad), grad_weight, None


_cpu_rms_norm: Callable[[Tensor, Tensor, float], Tensor] = _CpuRmsNorm.apply


class SwiGLU(MegatronModule):  # type: ignore[misc]  # Megatron is untyped
    """silu(gate) * up (Shazeer, 2020) of [.., 2 f] = [gate | up]."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config=config)

    def forward(self, x: Tensor) -> Tensor:
        """Returns [.., f]."""
        return _swiglu(x)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        gate, up = x.chunk(2, dim=-1)
        activated = functional.silu(gate)
        ctx.save_for_backward(x, activated)
        return activated * up

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        x, activated = ctx.saved_tensors
        gate, up = x.chunk(2, dim=-1)
        grad_x = torch.empty_like(x)
        grad_gate, grad_up = grad_x.chunk(2, dim=-1)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=grad_gate)
        torch.mul(grad, activated, out=grad_up)
        return grad_x


_swiglu: Callable[[Tensor], Tensor] = _SwiGLU.apply
