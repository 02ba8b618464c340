"""Both recipes in words; tests/infra builds them and compares what they install."""

import os
import platform
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from minilingua.core.errors import LaunchError
from minilingua.images.context import CONTENTS, build_context
from minilingua.images.docker_image import require_architecture

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "containers/Dockerfile").read_text()
DEFINITION = (ROOT / "containers/minilingua.def").read_text()
NGC = {"torch": "2.7.0", "numpy": "1.26.4"}
"""What the base has of what packages of the lock need (NGC PyTorch 25.04)."""
INSTALL = "sh /opt/minilingua/source/containers/install.sh"


def test_both_recipes_take_the_same_arguments_with_the_same_defaults() -> None:
    docker = dict(re.findall(r"^ARG (\w+)=(\S+)$", DOCKERFILE, re.MULTILINE))
    section = DEFINITION.partition("%arguments")[2].partition("%")[0]
    apptainer = dict(line.strip().split("=") for line in section.strip().splitlines())
    assert apptainer.pop("BOOTSTRAP") == "docker"
    assert docker == apptainer


def test_both_recipes_run_the_same_and_nothing_else() -> None:
    post = DEFINITION.partition("%post")[2].partition("%environment")[0].split("\n")
    assert [line.strip() for line in post if line.strip()] == [INSTALL]
    assert re.findall(r"^RUN (.*)$", DOCKERFILE, re.MULTILINE) == [INSTALL]


def test_both_recipes_set_the_same_environment() -> None:
    docker = re.search(r"^ENV (.*?)\n\n", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert docker is not None
    in_docker = docker[1].replace("\\", "").split()
    section = DEFINITION.partition("%environment")[2].partition("%labels")[0]
    assert re.findall(r"export (\S+)", section) == in_docker


def test_the_lock_is_that_of_the_environment_but_for_what_the_base_has() -> None:
    pinned = set((ROOT / "requirements.lock").read_text().splitlines())
    lines = (ROOT / "containers/requirements.txt").read_text().splitlines()
    packages = [line for line in lines if not line.startswith("#")]
    assert len(packages) > 30
    assert set(packages) <= pinned
    names = {line.partition("==")[0].lower() for line in packages}
    assert not names & {"torch", "transformer-engine", "flash-attn", "numpy"}


@pytest.mark.parametrize("python", ["3.11.7", "3.12.3"])
def test_the_lock_is_complete_on_both_pythons(python: str) -> None:
    """It is installed without dependencies: what a package needs is in it, or in the base."""
    lines = (ROOT / "containers/requirements.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    has = {canonicalize_name(name): version for name, version in pins.items()} | NGC
    torchs = {canonicalize_name(Requirement(line).name) for line in requires("torch") or ()}
    environment = {"python_version": python.rpartition(".")[0], "python_full_version": python}
    for name, pinned in pins.items():
        found = distribution(name)
        assert found.version == pinned
        allowed = found.metadata.get_all("Requires-Python") or [""]  # some packages say nothing
        assert python in SpecifierSet(",".join(allowed))
        for line in found.requires or ():
            needed = Requirement(line)
            if needed.marker and not needed.marker.evaluate({**environment, "extra": ""}):
                continue
            key = canonicalize_name(needed.name)
            if key in torchs and key not in has:
                continue
            assert key in has, f"{name} needs {line} on Python {python}"
            assert needed.specifier.contains(has[key], prereleases=True), f"{name} needs {line}"


def _base_packages(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "containers/base_packages.py")],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_base_of_ngc_has_to_have_all_that_is_compiled_together() -> None:
    plain = _base_packages()
    assert plain.returncode == 0
    assert {line.split()[0] for line in plain.stdout.splitlines()} >= {"torch", "numpy"}
    ngc = _base_packages(NVIDIA_PYTORCH_VERSION="25.04")
    assert ngc.returncode == 1
    assert ngc.stderr == "the base image has no transformer-engine, flash-attn\n"


def test_the_build_system_is_pinned_for_builds_inside_images() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert all("==" in name for name in project["build-system"]["requires"])


def test_the_context_is_what_git_knows_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    ignored = (ROOT / ".dockerignore").read_text()
    assert {line[1:] for line in ignored.splitlines() if line.startswith("!")} == set(CONTENTS)
    with build_context() as context:
        found = {path.relative_to(context.path).parts[0] for path in context.path.rglob("*")}
        assert found == set(CONTENTS)
        assert not list(context.path.rglob("__pycache__"))
        assert not (context.path / "containers/image.lock").exists()
        assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", context.revision)
    assert not context.path.exists()


def test_no_context_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LaunchError, match=r"git ls-files: .*not a git repository"), build_context():
        pass


def test_an_image_for_another_machine_is_refused() -> None:
    require_architecture(platform.machine(), "here.sif")
    other = "arm64" if platform.machine() == "x86_64" else "amd64"
    with pytest.raises(LaunchError, match=f"other.sif is built for {other}, this machine is"):
        require_architecture(other, "other.sif")
