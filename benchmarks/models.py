"""The models that are measured, with random weights."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.options import repetitions_of

if TYPE_CHECKING:
    from torch import Tensor

    from minilingua.params import Params
    from minilingua.training.data import PlannedSplit
    from minilingua.training.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A model."""

    preset: str
    """In conf/model."""
    vocab_size: int
    share: float
    """Of the repetitions: large models take long, and vary less."""


SHAPES = {
    "5m": Shape(preset="5m", vocab_size=4096, share=1.0),
    "smollm2-135m": Shape(preset="200m", vocab_size=49152, share=0.2),
    "smoke": Shape(preset="smoke", vocab_size=1536, share=1.0),
}
"""smollm2-135m has the shape of SmolLM2-135M, which is that of preset 200m with fewer tokens."""
FULL, SHORT = ("5m", "smollm2-135m"), ("smoke",)


def add_models(parser: argparse.ArgumentParser) -> None:
    """Adds the option that chooses shapes."""
    parser.add_argument(
        "--models",
        nargs="+",
        choices=SHAPES,
        help=f"shapes (default: {' '.join(FULL)}; {' '.join(SHORT)} with --short)",
    )


def models_of(options: argparse.Namespace) -> Sequence[str]:
    """Returns the names of the shapes that are measured."""
    return options.models or (SHORT if options.short else FULL)


def share_of_repetitions(shape: Shape, options: argparse.Namespace) -> int:
    """Returns how often every side runs with a shape, where large ones run less often."""
    return max(2, round(shape.share * repetitions_of(options)))


def random_weights(shape: Shape, params: "Params") -> "dict[str, Tensor]":
    """Returns the weights by Hugging Face name, as the stage ``base`` draws them."""
    import torch

    from minilingua.base_model.random_init import random_tensors

    drawn = random_tensors(
        params.model, shape.vocab_size, std=params.base.init_std, seed=params.seed
    )
    return {name: torch.from_numpy(tensor) for name, tensor in drawn.items()}


def make_engine(
    shape: Shape, params: "Params", weights: "Mapping[str, Tensor]", train: "PlannedSplit"
) -> "Engine":
    """Returns the training's engine on the backend of a CPU."""
    from minilingua.megatron_model.weight_map import hf_to_megatron
    from minilingua.training.engine import build_engine

    return build_engine(
        params,
        hf_to_megatron(weights, params.model),
        vocab_size=shape.vocab_size,
        backend="sdpa",
        train=train,
    )
