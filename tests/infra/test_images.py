"""The recipes built for real: docker-py on the Dockerfile, Apptainer on the definition file."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from minilingua.core.files import sha256_file
from tests.infra.conftest import TAG, Images
from tests.infra.parts import BASE, need, output, run_at
from tests.pipeline.workspace import Workspace

pytestmark = [pytest.mark.infra, pytest.mark.timeout(900)]

_TREE = """
import hashlib, pathlib, sys
for path in sorted(pathlib.Path("/opt/minilingua").rglob("*")):
    if path.is_file():
        print(oct(path.stat().st_mode), path, hashlib.sha256(path.read_bytes()).hexdigest())
"""


def test_both_recipes_install_the_same(images: Images) -> None:
    in_docker = output("docker", "run", "--rm", TAG, "python3", "-c", _TREE)
    in_sif = output("apptainer", "exec", "--containall", str(images.sif), "python3", "-c", _TREE)
    files = in_docker.splitlines()
    assert any(line.split()[1].endswith("/bin/train") for line in files)
    assert sum("/megatron/core/" in line for line in files) > 100
    assert in_sif.splitlines() == files


def test_labels_say_what_is_inside(images: Images) -> None:
    workspace = images.workspace
    commit = workspace.run("git", "rev-parse", "HEAD").stdout.strip()
    lock = sha256_file(workspace.path / "containers/requirements.txt")
    for image in (TAG, str(images.sif)):
        about = json.loads(workspace.run("minilingua", "image", "inspect", image).stdout)
        labels = about["labels"]
        assert labels["org.opencontainers.image.revision"] == commit
        assert labels["org.opencontainers.image.base.digest"] == images.lock.base.pin
        assert labels["minilingua.lock.sha256"] == lock


def test_recorded_images_are_verified_and_run_their_check(images: Images) -> None:
    for image in (TAG, str(images.sif)):
        said = images.workspace.run("minilingua", "image", "verify", image).stdout
        assert "is the recorded image" in said


def test_the_digest_of_the_root_file_system_is_that_of_the_contents(images: Images) -> None:
    found = images.workspace.run("minilingua", "image", "digest", str(images.sif)).stdout.strip()
    assert images.lock.sif is not None
    assert found == images.lock.sif.rootfs


def test_nobody_can_use_it_on_a_read_only_root_without_a_network(docker_built: Workspace) -> None:
    hard = ("--read-only", "--tmpfs=/tmp", "--network", "none", "--user", "12345:12345")
    assert "good" in output("docker", "run", "--rm", *hard, TAG, "check-image")
    assert docker_built.path.exists()


def test_a_changed_image_is_told_apart(images: Images, tmp_path: Path) -> None:
    changed = tmp_path / "minilingua.sif"
    shutil.copyfile(images.sif, changed)
    with changed.open("ab") as stream:
        stream.write(b"\0")
    done = images.workspace.run("minilingua", "image", "verify", str(changed), check=False)
    assert done.returncode == 2
    assert "image.lock records" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_image_without_torch_is_no_base(prepared: Workspace, tmp_path: Path) -> None:
    need("docker")
    workspace = prepared.copy(tmp_path / "checkout")
    dockerfile = f"FROM {BASE}\nRUN rm -r /usr/local/lib/python3*/dist-packages/torch*\n"
    tag = "minilingua-test-without-torch:1"
    subprocess.run(
        ["docker", "build", "--quiet", "-t", tag, "-"], input=dockerfile.encode(), check=True
    )
    try:
        workspace.run("minilingua", "image", "pin", tag)
        done = workspace.run("minilingua", "image", "build", "docker", check=False)
        assert done.returncode == 2
        assert "the base image has no torch" in done.stderr
        assert "error: containers/Dockerfile: " in done.stderr.splitlines()[-1]
    finally:
        subprocess.run(["docker", "image", "rm", "--force", tag], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["image", "build", "docker"], "is not pinned to a digest; `minilingua image pin`"),
        (["image", "build", "sif"], "is not pinned to a digest; `minilingua image pin`"),
        (["image", "pin", "minilingua-no-such-image"], "there is no image"),
        (["image", "inspect", "minilingua-no-such-image"], "`minilingua image build docker`"),
        (["image", "verify", "no-such.sif"], "no-such.sif is missing"),
    ],
)
def test_bad_input_is_one_line(prepared: Workspace, arguments: list[str], expected: str) -> None:
    need("docker", "apptainer")
    done = prepared.run("minilingua", *arguments, check=False)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_daemon_that_is_down_is_one_line(prepared: Workspace) -> None:
    nowhere = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    done = run_at(nowhere, prepared, "minilingua", "image", "pin", BASE, check=False)
    assert done.returncode == 2
    assert "Docker's daemon does not answer" in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_apptainer_is_one_line(prepared: Workspace, tmp_path: Path) -> None:
    sif = tmp_path / "minilingua.sif"
    sif.touch()
    path = os.pathsep.join(
        part
        for part in prepared.environment()["PATH"].split(os.pathsep)
        if not any((Path(part) / name).exists() for name in ("apptainer", "singularity"))
    )
    done = prepared.run("minilingua", "image", "inspect", str(sif), check=False, PATH=path)
    assert done.returncode == 2
    assert "neither apptainer nor singularity is on PATH" in done.stderr
