"""Fixtures that several packages' tests use."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.hub_server import Hub, serve
from tests.pipeline.workspace import Workspace, checkout

# A busy machine is no failure of a property: tests assert behaviour, never wall time.
settings.register_profile("no_deadline", deadline=None)
settings.load_profile("no_deadline")


_LONGEST_FIRST = ("pipeline", "infra", "training")
"""Directories whose tests share what takes long to make, and are begun with."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Says which tests one process of `pytest -n` runs: a directory above, or else a file."""
    here = Path(__file__).parent
    order = {name: number for number, name in enumerate(_LONGEST_FIRST)}
    for item in items:
        folder = item.path.relative_to(here).parts[0]
        group = folder if folder in order else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: order.get(item.path.relative_to(here).parts[0], len(order)))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the test would have slept; it does not."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> Iterator[Hub]:
    """A hub on loopback, to which huggingface_hub's real client talks; nobody is logged in."""
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    with serve() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 20)
        # What arrives is written in pieces of this size; an unfinished piece is not kept.
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
        close_session()
        yield server
        close_session()
    assert all(wait >= 0 for wait in waits)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A checkout of smoke in which everything before the training has run. Change only a copy."""
    workspace = checkout(tmp_path_factory.mktemp("prepared") / "checkout")
    workspace.repro("base", "pack")
    return workspace


@pytest.fixture(scope="session")
def smoke(prepared: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A checkout of smoke in which `dvc repro` has run. Change only a copy."""
    workspace = prepared.copy(tmp_path_factory.mktemp("smoke") / "checkout")
    workspace.repro()
    return workspace
