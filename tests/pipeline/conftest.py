"""The smoke experiment, run once for all tests that look at what comes out of it."""

import pytest

from tests.pipeline.workspace import Workspace, checkout


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A checkout in which everything before the training has run. Read only: change a copy."""
    workspace = checkout(tmp_path_factory.mktemp("prepared") / "checkout")
    workspace.repro("base", "pack")
    return workspace


@pytest.fixture(scope="session")
def smoke(prepared: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A checkout in which `dvc repro` has run. Read only: change a copy."""
    workspace = prepared.copy(tmp_path_factory.mktemp("smoke") / "checkout")
    workspace.repro()
    return workspace
