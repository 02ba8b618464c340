"""Every composition that conf/ ships is valid, and Megatron builds its model, without memory."""

from functools import cache
from itertools import product
from pathlib import Path

import pytest
import torch

from minilingua.configure import compose_params, groups
from minilingua.core.errors import ParamsError
from minilingua.megatron_model.build import BuildOptions, build_model
from minilingua.params import ModelParams
from minilingua.run_size import estimate_run

CONF = Path(__file__).parents[2] / "conf"
GROUPS = groups(CONF)
EXPERIMENTS, MIXTURES, MODELS = GROUPS["experiment"], GROUPS["mixture"], GROUPS["model"]


@cache
def _built_parameters(model: ModelParams, vocab_size: int) -> int:
    with torch.device("meta"):
        module = build_model(model, vocab_size, BuildOptions())
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}
    return sum(parameter.numel() for parameter in module.parameters())


def test_there_are_groups_to_compose() -> None:
    assert {"sample", "smoke", "triton", "triton_reference"} <= set(EXPERIMENTS)
    assert {"equal", "original", "train_balanced"} <= set(MIXTURES)
    assert {"5m", "200m", "1b"} <= set(MODELS)


@pytest.mark.parametrize(("experiment", "mixture"), list(product(EXPERIMENTS, MIXTURES)))
def test_every_experiment_builds_with_every_mixture(experiment: str, mixture: str) -> None:
    params = compose_params([f"experiment={experiment}", f"mixture={mixture}"], CONF)
    assert (params.experiment, params.mixture.name) == (experiment, mixture)
    parameters = _built_parameters(params.model, params.tokenizer.vocab_size)
    assert parameters == estimate_run(params).parameters


@pytest.mark.parametrize(("experiment", "model"), list(product(EXPERIMENTS, MODELS)))
def test_every_experiment_builds_with_every_model(experiment: str, model: str) -> None:
    overrides = [f"experiment={experiment}", f"model={model}"]
    length = compose_params(overrides[:1], CONF).pack.sequence_length
    shape = compose_params(["experiment=smoke", f"model={model}"], CONF).model
    if length > shape.max_positions:  # the one combination that cannot be, and why is said
        with pytest.raises(ParamsError, match=rf"sequence_length {length} exceeds"):
            compose_params(overrides, CONF)
        return
    params = compose_params(overrides, CONF)
    assert params.model.name == model
    parameters = _built_parameters(params.model, params.tokenizer.vocab_size)
    assert parameters == estimate_run(params).parameters
