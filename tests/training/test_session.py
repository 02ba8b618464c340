import os

import pytest
import torch

from minilingua.params import Params
from minilingua.params_file import load_params
from minilingua.training.session import _configure_torch
from tests.training.workspace import REPOSITORY

NVTE = "NVTE_ALLOW_NONDETERMINISTIC_ALGO"


@pytest.mark.parametrize("profile", ["bitwise", "fast"])
def test_on_a_gpu_the_profile_bitwise_asks_every_library_for_exactness(
    monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    """torch, cuBLAS and TransformerEngine each have a switch; Megatron insists on the last one."""
    asked: list[bool] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(torch, "use_deterministic_algorithms", asked.append)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", lambda _: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for name in (NVTE, "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, "1")  # so that it is as it was afterwards
        monkeypatch.delenv(name)
    params: Params = load_params(REPOSITORY / "params.yaml")
    _configure_torch(params.train.model_copy(update={"profile": profile}))
    exact = profile == "bitwise"
    assert asked == [True] * exact
    assert os.environ.get(NVTE) == ("0" if exact else None)
    assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) == exact
