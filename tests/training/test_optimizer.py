from collections.abc import Iterable
from typing import Any

import pytest
import torch

from minilingua.core.errors import ParamsError
from minilingua.megatron_model.megatron import quiet
from minilingua.training.optimizer import build_scheduler
from tests.training.engines import engine_of, gradients
from tests.training.workspace import Workspace

STEPS = 12


@pytest.fixture(autouse=True)
def _quietly() -> Iterable[None]:
    with quiet():
        yield


def learning_rates(workspace: Workspace, **train: Any) -> list[float]:
    engine = engine_of(workspace, lr=1.0, warmup_steps=4, min_lr=0.5, **train)
    rates = []
    for _ in range(STEPS):
        engine.scheduler.step(1)
        rates.append(engine.optimizer.param_groups[0]["lr"])
    return rates


def test_warm_up_reaches_the_peak_and_a_decay_the_minimum(workspace: Workspace) -> None:
    constant = learning_rates(workspace, learning_rate_schedule="constant")
    assert constant == pytest.approx([0.25, 0.5, 0.75] + [1.0] * 9)
    linear = learning_rates(workspace, learning_rate_schedule="linear")
    assert linear[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert linear[4:] == pytest.approx([1 - 0.5 * step / 8 for step in range(1, 9)])
    cosine = learning_rates(workspace, learning_rate_schedule="cosine")
    assert cosine[3] == 1.0
    assert cosine[7] == pytest.approx(0.75)
    assert cosine[-1] == pytest.approx(0.5)
    wsd = learning_rates(workspace, learning_rate_schedule="wsd", decay_steps=5)
    assert wsd[:7] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0])
    assert wsd[7:] == pytest.approx([1 - 0.1 * step for step in range(1, 6)])
    falling = learning_rates(workspace, learning_rate_schedule="wsd", decay_steps=8)
    assert falling == pytest.approx(linear)  # warm-up and decay may be the whole plan


def test_training_steps_use_the_rates_of_the_schedule(workspace: Workspace) -> None:
    engine = engine_of(workspace, lr=0.5, warmup_steps=2)
    assert [engine.train_step(step).learning_rate for step in (1, 2, 3)] == [0.25, 0.5, 0.5]


def test_norms_are_not_decayed(workspace: Workspace) -> None:
    engine = engine_of(workspace, weight_decay=0.5)
    engine.scheduler.step(1)
    decay = {
        id(parameter): group["weight_decay"]
        for group in engine.optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in engine.model.named_parameters():
        assert decay[id(parameter)] == (0.0 if "norm" in name else 0.5), name


@pytest.mark.parametrize("clip_grad", [0.05, 1e9])
def test_a_step_is_adamw_with_the_gradient_clipped(workspace: Workspace, clip_grad: float) -> None:
    """By hand (Loshchilov and Hutter, 2019), two steps; every parameter shows."""
    options: dict[str, Any] = {
        "adam_beta1": 0.8,
        "adam_beta2": 0.9,
        "adam_epsilon": 1e-3,
        "weight_decay": 0.5,
    }
    engine = engine_of(workspace, clip_grad=clip_grad, warmup_steps=0, lr=0.01, **options)
    weights = {name: value.detach().clone() for name, value in engine.model.named_parameters()}
    first = {name: torch.zeros_like(value) for name, value in weights.items()}
    second = {name: torch.zeros_like(value) for name, value in weights.items()}
    for step in (1, 2):
        # Megatron clips in place: gradients are read from an engine that does not, and is new.
        other = engine_of(workspace, clip_grad=1e9)
        with torch.no_grad():
            for name, parameter in other.model.named_parameters():
                parameter.copy_(weights[name])
        norm = other.train_step(step).grad_norm
        assert engine.train_step(step).grad_norm == pytest.approx(norm, rel=1e-4)
        scale = min(1.0, clip_grad / norm)
        assert (scale < 1) == (clip_grad < 1)
        for name, gradient in gradients(other).items():
            first[name].lerp_(gradient * scale, 0.2)
            second[name].lerp_((gradient * scale).square(), 0.1)
            moved = first[name] / (1 - 0.8**step)
            moved /= (second[name] / (1 - 0.9**step)).sqrt() + 1e-3
            decayed = weights[name] * (1 if "norm" in name else 1 - 0.01 * 0.5)
            weights[name] = decayed - 0.01 * moved
        for name, parameter in engine.model.named_parameters():
            torch.testing.assert_close(parameter.data, weights[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"min_lr": 2.0, "lr": 1.0}, r"train\.min_lr 2\.0 exceeds train\.lr 1\.0"),
        (
            {"warmup_steps": 12, "learning_rate_schedule": "cosine"},
            "warmup_steps 12 leaves nothing of the 12 steps",
        ),
        (
            {"warmup_steps": 4, "decay_steps": 9, "learning_rate_schedule": "wsd"},
            "warmup_steps 4 and train.decay_steps 9 are more than the 12 steps",
        ),
    ],
)
def test_a_schedule_that_contradicts_itself_is_refused(
    workspace: Workspace, changes: dict[str, Any], message: str
) -> None:
    engine = engine_of(workspace)
    train = engine.params.train.model_copy(update=changes)
    with pytest.raises(ParamsError, match=message):
        build_scheduler(engine.optimizer, train, STEPS)
