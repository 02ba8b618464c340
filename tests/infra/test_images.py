"""The recipes built for real: docker-py on the Dockerfile, Apptainer on the definition file."""

import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import time
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from minilingua.core.errors import LaunchError
from minilingua.core.files import sha256_file
from minilingua.images.lock import read_lock, write_lock
from minilingua.images.sif import sign, verify_signature
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


def test_docker_finds_it_healthy(docker_built: Workspace) -> None:
    """The HEALTHCHECK of the recipe, asked sooner than once a day."""
    assert docker_built.path.exists()
    quiet = ("--network", "none", "--health-interval", "1s")
    container = output("docker", "run", "--detach", "--rm", *quiet, TAG, "sleep", "300")
    try:
        state = ("docker", "inspect", "--format", "{{.State.Health.Status}}", container)
        deadline = time.monotonic() + 120
        while output(*state) == "starting":
            assert time.monotonic() < deadline
            time.sleep(0.5)
        assert output(*state) == "healthy"
    finally:
        output("docker", "kill", container)


def test_a_docker_image_becomes_the_same_sif_signed(
    docker_built: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("apptainer")
    monkeypatch.setenv("APPTAINER_KEYSDIR", str(tmp_path / "keys"))
    _new_key()
    archive, sif = tmp_path / "image.tar", tmp_path / "minilingua.sif"
    output("docker", "save", "--output", str(archive), TAG)
    lock = tmp_path / "image.lock"
    shutil.copyfile(docker_built.path / "containers/image.lock", lock)
    recorded = ("--lock", str(lock))
    source = ("--from", f"docker-archive:{archive}", "--sign")
    docker_built.run("minilingua", "image", "build", "sif", str(sif), *source, *recorded)
    built = read_lock(lock)
    assert built.docker is not None
    assert built.sif is not None
    assert built.sif.sha256 == sha256_file(sif)
    assert built.sif.rootfs == built.docker.rootfs
    said = docker_built.run("minilingua", "image", "verify", str(sif), "--signature", *recorded)
    assert "is the recorded image" in said.stdout


def test_an_image_for_another_machine_is_told_before_it_is_used(
    images: Images, tmp_path: Path
) -> None:
    workspace = images.workspace.copy(tmp_path / "checkout")
    here, other = ("02", "04") if platform.machine() == "x86_64" else ("04", "02")
    name = "arm64" if other == "04" else "amd64"
    sif = tmp_path / "other.sif"
    shutil.copyfile(images.sif, sif)
    with sif.open("rb+") as stream:  # the header of a SIF that was built over there
        stream.seek(45)
        assert stream.read(2).decode() == here
        stream.seek(45)
        stream.write(other.encode())
    assert images.lock.sif is not None
    changed = images.lock.sif.model_copy(update={"sha256": sha256_file(sif)})
    write_lock(
        images.lock.model_copy(update={"sif": changed}), workspace.path / "containers/image.lock"
    )
    place = {"MINILINGUA_CONTAINER": "apptainer", "MINILINGUA_IMAGE": str(sif)}
    for command in (("train",), ("image", "verify", str(sif))):
        done = run_at(place, workspace, "minilingua", *command, check=False)
        assert done.returncode == 2
        assert f"{sif} is built for {name}, this machine is" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_base_for_another_machine_is_not_pinned(prepared: Workspace) -> None:
    need("docker")
    other = "arm64" if platform.machine() == "x86_64" else "amd64"
    tag = "minilingua-test-other-machine:1"
    subprocess.run(["docker", "load", "--quiet"], input=_docker_archive(tag, other), check=True)
    try:
        done = prepared.run("minilingua", "image", "pin", tag, "--lock", "other.lock", check=False)
        assert done.returncode == 2
        assert f"{tag} is built for {other}, this machine is" in done.stderr
        assert not (prepared.path / "other.lock").exists()
    finally:
        output("docker", "image", "rm", "--force", tag)


def _docker_archive(tag: str, architecture: str) -> bytes:
    """Returns what `docker save` writes of an image of one file."""
    layer = _tar({"etc/example": b"x"})
    config = json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
        }
    ).encode()
    name = f"{sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]
    return _tar({name: config, "layer.tar": layer, "manifest.json": json.dumps(manifest).encode()})


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def test_a_lock_that_replaces_a_package_of_the_base_fails_the_build(
    prepared: Workspace, tmp_path: Path
) -> None:
    need("docker")
    workspace = prepared.copy(tmp_path / "checkout")
    wheel = "numpy-0.0.1-py3-none-any.whl"
    about = "numpy-0.0.1.dist-info"
    with zipfile.ZipFile(workspace.path / "containers" / wheel, "w") as archive:
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.1\n"
        )
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    lock = f"/opt/minilingua/source/containers/{wheel}\n"
    (workspace.path / "containers/requirements.txt").write_text(lock)
    workspace.run("minilingua", "image", "pin", BASE)
    before = (workspace.path / "containers/image.lock").read_bytes()
    done = workspace.run("minilingua", "image", "build", "docker", "--tag", "x:1", check=False)
    assert done.returncode == 2
    assert "the packages of the base have changed" in done.stderr
    assert "numpy 0.0.1" in done.stderr
    assert "Step 2/" in done.stderr  # the log was shown as it came
    assert (workspace.path / "containers/image.lock").read_bytes() == before
    assert "x:1" not in output("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}")


def test_an_image_that_fails_its_check_replaces_nothing(
    docker_built: Workspace, tmp_path: Path
) -> None:
    need("apptainer")
    recorded = docker_built.path / "containers/image.lock"
    before = recorded.read_bytes()
    sif = tmp_path / "minilingua.sif"
    sif.write_bytes(b"the image of before")
    tarfile.open(tmp_path / "root.tar", "w").close()
    empty = "minilingua-test-empty:1"
    output("docker", "import", str(tmp_path / "root.tar"), empty)
    try:
        build = ("sif", str(sif), "--from", f"docker-daemon:{empty}")
        done = docker_built.run("minilingua", "image", "build", *build, check=False)
    finally:
        output("docker", "image", "rm", empty)
    assert done.returncode == 2
    assert f"error: {sif}: the image's check failed: " in done.stderr.splitlines()[-1]
    assert [path.read_bytes() for path in tmp_path.glob("*.sif")] == [b"the image of before"]
    assert not list(tmp_path.glob(".*.tmp"))
    assert recorded.read_bytes() == before


def test_a_changed_image_is_told_apart(images: Images, tmp_path: Path) -> None:
    changed = tmp_path / "minilingua.sif"
    shutil.copyfile(images.sif, changed)
    with changed.open("ab") as stream:
        stream.write(b"\0")
    done = images.workspace.run("minilingua", "image", "verify", str(changed), check=False)
    assert done.returncode == 2
    assert "image.lock records" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_signature_is_told_from_none(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPTAINER_KEYSDIR", str(tmp_path / "keys"))
    _new_key()
    signed = tmp_path / "minilingua.sif"
    shutil.copyfile(images.sif, signed)
    with pytest.raises(LaunchError, match=r"apptainer verify: .*signature not found"):
        verify_signature(signed)
    sign(signed)
    verify_signature(signed)
    monkeypatch.setenv("APPTAINER_KEYSDIR", str(tmp_path / "nobody"))
    with pytest.raises(LaunchError, match="apptainer verify"):
        verify_signature(signed)


def _new_key() -> None:
    owner = ("--name", "test", "--email", "test@localhost", "--comment", "test")
    output(
        "apptainer", "key", "newpair", *owner, "--password", "", "--bit-length", "2048", "-U=false"
    )


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
