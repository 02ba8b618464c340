"""Fixtures that several packages' tests use."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests.hub_server import Hub, serve
from tests.pipeline.workspace import Workspace, checkout

# A busy machine is no failure of a property: tests assert behaviour, never wall time.
settings.register_profile(
    "no_deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("no_deadline")


_LONGEST_FIRST = ("infra", "pipeline", "training")
"""Directories whose tests are begun with."""
_TOGETHER = frozenset({"infra", "training"})
"""Directories whose files share what takes long to make."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the tests; those of a file stay together."""
    order = {name: number for number, name in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(_folder(item.nodeid), len(order)))


class _ByFixtures(LoadScopeScheduling):  # type: ignore[misc]  # untyped
    """One process of `pytest -n` runs all tests of a file, or of a directory of ``_TOGETHER``.

    pytest-xdist's own groups do nothing with pytest 9.2, which has no ``_nodeid`` to mark.
    """

    def _split_scope(self, nodeid: str) -> str:
        folder = _folder(nodeid)
        return folder if folder in _TOGETHER else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByFixtures:
    """Is how pytest-xdist asks who runs what."""
    config.option.loadscopereorder = (
        False  # by the number of tests, which says little of their time
    )
    return _ByFixtures(config, log)


def _folder(nodeid: str) -> str:
    """Returns ``training`` of ``tests/training/test_loop.py::test_x``."""
    return nodeid.partition("tests/")[2].partition("/")[0]


def _sum_of_no_floats(values: Iterable[Any], /, start: Any = 0) -> Any:
    total = sum(values, start)
    assert not isinstance(total, float), "Python 3.12 rounds sums of floats anew; use math.fsum"
    return total


@pytest.fixture(autouse=True)
def _no_sums_of_floats() -> None:
    """Our modules' ``sum`` refuses floats: their sum is not the same in every Python.

    It stands in their own namespaces: torch compares the built-in one with a copy.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("minilingua."):
            vars(module).setdefault("sum", _sum_of_no_floats)


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

    def make(path: Path) -> None:
        checkout(path).repro("base", "pack")

    return Workspace(path=_made_once(tmp_path_factory, "prepared", make))


@pytest.fixture(scope="session")
def smoke(prepared: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A checkout of smoke in which `dvc repro` has run. Change only a copy."""

    def make(path: Path) -> None:
        prepared.copy(path).repro()

    return Workspace(path=_made_once(tmp_path_factory, "smoke", make))


def _made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """Returns a directory that one process of `pytest -n` makes and all of them read."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        path = factory.mktemp(name) / "checkout"
        make(path)
        return path
    shared = factory.getbasetemp().parent / "shared"
    shared.mkdir(exist_ok=True)
    path = shared / name
    with FileLock(shared / f"{name}.lock"):
        if not path.exists():
            aside = shared / f".{name}"
            make(aside)
            aside.rename(path)
    return path
