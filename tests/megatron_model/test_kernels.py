import pytest
import torch
from torch.nn import functional

from minilingua.megatron_model.build import BuildOptions, transformer_config
from minilingua.megatron_model.kernels import RMSNorm, SwiGLU
from minilingua.megatron_model.megatron import quiet
from tests.megatron_model.conftest import tiny_model


@pytest.mark.parametrize("shape", [(5, 1, 32), (7, 32)])
def test_rms_norm_is_torchs(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, requires_grad=True)
    with quiet():
        ours = RMSNorm(transformer_config(tiny_model(), BuildOptions()), 32, eps=1e-5)
    with torch.no_grad():
        ours.weight.uniform_(0.5, 1.5, generator=generator)
    weight = ours.weight.detach().clone().requires_grad_()
    y = x.detach().clone().requires_grad_()
    out, expected = ours(x), functional.rms_norm(y, (32,), weight, 1e-5)
    torch.testing.assert_close(out, expected, rtol=1e-6, atol=1e-6)
    grad = torch.randn(shape, generator=generator)
    torch.autograd.backward([out, expected], [grad, grad])
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.weight.grad, weight.grad, rtol=1e-5, atol=1e-5)


def test_rms_norm_of_no_rows_has_a_gradient_of_zero() -> None:
    with quiet():
        norm = RMSNorm(transformer_config(tiny_model(), BuildOptions()), 32, eps=1e-5)
    norm(torch.zeros(0, 1, 32, requires_grad=True)).sum().backward()
    assert torch.equal(norm.weight.grad, torch.zeros(32))  # type: ignore[arg-type]  # it is set


def test_swiglu_is_silu_times_up() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 1, 14, generator=generator, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    gate, up = y.chunk(2, dim=-1)
    expected = functional.silu(gate) * up
    with quiet():
        out = SwiGLU(transformer_config(tiny_model(), BuildOptions()))(x)
    assert torch.equal(out, expected)
    grad = torch.randn(5, 1, 7, generator=generator)
    torch.autograd.backward([out, expected], [grad, grad])
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-6, atol=1e-7)
