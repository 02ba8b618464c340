"""The locks of packages name all that is needed, at versions that fit."""

import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRAS = {"requirements-smollm2.lock": "smollm2", "requirements-lm-eval.lock": "lm-eval"}

_CUDA = ("nvidia-", "cuda-", "triton")


def _pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(package): version for package, version in pairs}


def _unmet(wanted: list[str], pins: dict[str, str]) -> list[str]:
    return [line for line in wanted if not _is_met(Requirement(line), pins)]


def _is_met(needed: Requirement, pins: dict[str, str]) -> bool:
    if needed.marker and not needed.marker.evaluate({"extra": ""}):
        return True
    pin = pins.get(canonicalize_name(needed.name))
    return pin is not None and needed.specifier.contains(pin, prereleases=True)


def _wanted(*extras: str) -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in extras for line in optional[extra])]


def test_the_lock_has_what_pyproject_asks_for() -> None:
    assert not _unmet(_wanted("images", "dev"), _pins("requirements.lock"))


def _left_out(name: str, wanted: list[str], pins: dict[str, str]) -> list[str]:
    """Returns what pip would take from the index of the day."""
    left = _unmet(wanted, pins)
    # On an index without CPU builds torch brings a CUDA of its own choice, which nothing here uses.
    return [line for line in left if name != "torch" or not line.startswith(_CUDA)]


def test_the_lock_is_closed() -> None:
    pins = _pins("requirements.lock")
    unmet = {name: _left_out(name, requires(name) or [], pins) for name in pins}
    assert not {name: left for name, left in unmet.items() if left}


def test_cuda_may_come_with_torch_and_nothing_else() -> None:
    wanted = ["nvidia-nccl-cu13==2.28.9", "cuda-bindings<14,>=13", "triton==3.5", "unheard-of"]
    assert _left_out("torch", wanted, {}) == ["unheard-of"]
    assert _left_out("numpy", wanted, {}) == wanted


@pytest.mark.parametrize(("name", "extra"), EXTRAS.items())
def test_what_is_added_changes_nothing_of_the_lock(name: str, extra: str) -> None:
    pins, added = _pins("requirements.lock"), _pins(name)
    assert not pins.keys() & added.keys()
    assert not _unmet(_wanted(extra), {**pins, **added})
