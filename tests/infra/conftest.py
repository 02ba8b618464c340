"""The images, built once for all tests of this directory."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from minilingua.images.lock import ImageLock, read_lock
from tests.infra.parts import BASE, need
from tests.pipeline.workspace import Workspace

TAG = "minilingua-test:latest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """The very recipes, built on the small base; the checkout's image.lock records them."""

    workspace: Workspace
    """Everything before the training has run. Change only a copy."""
    sif: Path

    @property
    def lock(self) -> ImageLock:
        return read_lock(self.workspace.path / "containers/image.lock")


@pytest.fixture(scope="session")
def docker_built(prepared: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A checkout whose Dockerfile was built with docker-py."""
    need("docker")
    workspace = prepared.copy(tmp_path_factory.mktemp("images") / "checkout")
    workspace.run("minilingua", "image", "pin", BASE)
    workspace.run("minilingua", "image", "build", "docker", "--tag", TAG)
    return workspace


@pytest.fixture(scope="session")
def images(docker_built: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Images:
    """The same, and a SIF built from the definition file."""
    need("apptainer")
    sif = tmp_path_factory.mktemp("sif") / "minilingua.sif"
    docker_built.run("minilingua", "image", "build", "sif", str(sif))
    return Images(workspace=docker_built, sif=sif)
