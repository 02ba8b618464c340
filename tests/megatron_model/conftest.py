"""Model-parallel state of one rank for the whole package, and tiny models."""

from collections.abc import Iterator

import pytest
import torch

from minilingua.megatron_model.parallel import one_rank
from minilingua.params import ModelParams

VOCABULARY = 61


@pytest.fixture(scope="package", autouse=True)
def _one_rank() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with one_rank():
        yield
    torch.set_num_threads(threads)


def tiny_model(*, tied: bool = True, **changes: int) -> ModelParams:
    values = {
        "hidden_size": 32,
        "ffn_hidden_size": 48,
        "layers": 2,
        "attention_heads": 8,
        "kv_groups": 2,
        "max_positions": 64,
        **changes,
    }
    return ModelParams(
        name="tiny", tied_embeddings=tied, rope_base=10000.0, norm_epsilon=1e-5, **values
    )
