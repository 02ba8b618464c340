"""Megatron's AdamW and learning-rate schedule from ``params.train``."""

from typing import Any

import torch

from minilingua.core.errors import ParamsError
from minilingua.megatron_model.megatron import (
    OptimizerConfig,
    OptimizerParamScheduler,
    get_megatron_optimizer,
)
from minilingua.params import TrainParams

_STYLES = {"constant": "constant", "linear": "linear", "cosine": "cosine", "wsd": "WSD"}
"""Our names of the schedules ─► Megatron's."""


def build_optimizer(model: Any, train: TrainParams) -> Any:
    """Returns Megatron's optimizer; norms are not decayed.

    Args:
        model: the model inside what exchanges its gradients.
        train: the parameters.
    """
    # Fully sharded weights are fp32 themselves.
    bf16 = train.precision != "fp32" and not train.parallel.fully_sharded
    config = OptimizerConfig(
        optimizer="adam",
        lr=train.lr,
        min_lr=train.min_lr,
        weight_decay=train.weight_decay,
        adam_beta1=train.adam_beta1,
        adam_beta2=train.adam_beta2,
        adam_eps=train.adam_epsilon,
        clip_grad=train.clip_grad,
        bf16=bf16,
        params_dtype=torch.bfloat16 if bf16 else torch.float32,
        use_distributed_optimizer=train.parallel.distributed_optimizer,
        overlap_param_gather=train.parallel.overlap and train.parallel.distributed_optimizer,
    )
    optimizer = get_megatron_optimizer(config, [model])
    for group in optimizer.param_groups:
        group["fused"] = True  # one pass over weights and moments; Megatron leaves it off
    return optimizer


def build_scheduler(optimizer: Any, train: TrainParams, steps: int) -> Any:
    """Returns the schedule, positioned before step 1.

    Step s of ``steps`` trains with the schedule's value at s: the warm-up reaches ``lr`` at step
    ``warmup_steps``, and a decaying schedule ends at ``min_lr``.

    Raises:
        ParamsError: the warm-up or the end of the schedule contradicts the other parameters.
    """
    if train.min_lr > train.lr:
        raise ParamsError(f"params.yaml: train.min_lr {train.min_lr} exceeds train.lr {train.lr}")
    decays = train.learning_rate_schedule != "constant"
    if train.learning_rate_schedule == "wsd" and train.warmup_steps + train.decay_steps > steps:
        raise ParamsError(
            f"params.yaml: train.warmup_steps {train.warmup_steps} and train.decay_steps "
            f"{train.decay_steps} are more than the {steps} steps of the plan"
        )
    if decays and train.warmup_steps >= steps:
        raise ParamsError(
            f"params.yaml: train.warmup_steps {train.warmup_steps} leaves nothing of the "
            f"{steps} steps of the plan for the {train.learning_rate_schedule} schedule"
        )
    return OptimizerParamScheduler(
        optimizer,
        init_lr=0.0,
        max_lr=train.lr,
        min_lr=train.min_lr,
        lr_warmup_steps=train.warmup_steps,
        lr_decay_steps=max(steps, train.warmup_steps + 1),
        lr_decay_style=_STYLES[train.learning_rate_schedule],
        wsd_decay_steps=train.decay_steps,
        lr_wsd_decay_style="linear",
        start_wd=train.weight_decay,
        end_wd=train.weight_decay,
        wd_incr_steps=steps,
        wd_incr_style="constant",
    )
