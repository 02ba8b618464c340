from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from minilingua.megatron_model import cross_entropy as module
from minilingua.megatron_model.cross_entropy import cross_entropy
from minilingua.megatron_model.megatron import parallel_state


def drawn(rows: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, width, generator=generator) * 8
    labels = torch.randint(0, width, (rows,), generator=generator)
    return logits.bfloat16().requires_grad_(), labels


def reference(logits: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """torch's own, all in fp32, and its gradient."""
    exact = logits.detach().float().requires_grad_()
    losses = functional.cross_entropy(exact, labels, reduction="none")
    (gradient,) = torch.autograd.grad((losses * weights).sum(), exact)
    return losses.detach(), gradient


def group_of(*, shared: bool) -> Any:
    """The ranks that share a vocabulary, here this one; None: it is not shared."""
    return parallel_state.get_tensor_model_parallel_group() if shared else None


both = pytest.mark.parametrize("shared", [False, True])


@both
@given(rows=st.integers(0, 9), width=st.integers(1, 40), chunk=st.sampled_from([1, 50, 2**25]))
def test_it_is_torchs_cross_entropy(rows: int, width: int, chunk: int, *, shared: bool) -> None:
    logits, labels = drawn(rows, width)
    weights = torch.linspace(0.5, 2, rows) if rows else torch.zeros(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK", chunk)
        losses = cross_entropy(logits, labels, first=0, real=width, group=group_of(shared=shared))
        (gradient,) = torch.autograd.grad((losses * weights).sum(), logits)
    expected, exact = reference(logits, labels, weights)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, expected, rtol=1e-5, atol=1e-5)
    # Where the target is almost certain, probability - 1 cancels: logits of 20 leave 2e-6 of fp32.
    torch.testing.assert_close(gradient, exact.bfloat16(), rtol=1e-2, atol=1e-5)


@both
def test_padding_is_neither_predicted_nor_given_a_gradient(*, shared: bool) -> None:
    logits, labels = drawn(5, 12)
    labels = labels.clamp(max=9)
    with torch.no_grad():
        logits[:, 10:] = 1e4
    losses = cross_entropy(logits, labels, first=0, real=10, group=group_of(shared=shared))
    expected, _ = reference(logits[:, :10], labels, torch.ones(5))
    torch.testing.assert_close(losses.detach(), expected, rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(losses.sum(), logits)
    assert not gradient[:, 10:].any()


@both
def test_no_fp32_copy_of_the_logits_is_made(
    monkeypatch: pytest.MonkeyPatch, *, shared: bool
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 64)
    logits, labels = drawn(32, 64)
    sizes: list[int] = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and out.dtype == torch.float32:
                sizes.append(out.numel())
            return out

    with Watch():
        losses = cross_entropy(logits, labels, first=0, real=64, group=group_of(shared=shared))
        torch.autograd.grad(losses.sum(), logits)
    assert sizes
    assert max(sizes) == 64  # one row at a time
