"""Model-parallel state of one rank for the whole package, and a workspace to stand in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from minilingua.megatron_model.parallel import one_rank
from tests.training.workspace import Workspace, make_workspace


@pytest.fixture(scope="package", autouse=True)
def _one_rank() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with one_rank():
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A fresh workspace that is the current directory."""
    made = make_workspace(tmp_path / "root")
    monkeypatch.chdir(made.root)
    return made
