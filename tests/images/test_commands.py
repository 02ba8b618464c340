"""`minilingua image` without an engine; tests/infra builds for real."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from docker.errors import DockerException

from minilingua.core.errors import LaunchError
from minilingua.images import commands, docker_image
from minilingua.images.context import Context
from minilingua.images.lock import Base, DockerImage, ImageLock, Sif, read_lock, write_lock

PIN = "sha256:" + "0" * 64
LOCK = ImageLock(base=Base(image="host/name:1", kind="registry", pin=PIN))
BUILT = DockerImage(id=PIN, tag="x:1", rootfs=PIN)
SIF = Sif(sha256="1" * 64, bytes=3, rootfs=PIN)


def _build_while(
    meanwhile: ImageLock, lock: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str
) -> None:
    """Builds images of nothing; while that takes its time the lock becomes another."""

    @contextmanager
    def nothing() -> Iterator[None]:
        yield

    def build_docker(*_: object) -> DockerImage:
        write_lock(meanwhile, lock)
        return BUILT

    def build_from_docker(_source: str, _path: Path, *, signed: bool) -> Sif:
        assert signed
        write_lock(meanwhile, lock)
        return SIF

    monkeypatch.setattr(commands, "build_context", nothing)
    monkeypatch.setattr(commands, "docker_client", nothing)
    monkeypatch.setattr(commands, "build_docker", build_docker)
    monkeypatch.setattr(commands, "build_from_docker", build_from_docker)
    write_lock(LOCK, lock)
    commands.main(["build", *arguments, "--lock", str(lock)])


def test_two_builds_at_once_are_both_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "image.lock"
    both = LOCK.model_copy(update={"docker": BUILT, "sif": SIF})
    _build_while(LOCK.model_copy(update={"sif": SIF}), lock, monkeypatch, "docker")
    assert read_lock(lock) == both
    of_docker = ("sif", str(tmp_path / "x.sif"), "--from", "docker-daemon:x:1", "--sign")
    _build_while(LOCK.model_copy(update={"docker": BUILT}), lock, monkeypatch, *of_docker)
    assert read_lock(lock) == both


def test_a_base_that_was_changed_meanwhile_keeps_its_own_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "image.lock"
    other = ImageLock(base=Base(image="host/name:2", kind="registry", pin="sha256:" + "2" * 64))
    with pytest.raises(LaunchError, match=f"pins the base {other.base.pin} now"):
        _build_while(other, lock, monkeypatch, "docker")
    assert read_lock(lock) == other


@pytest.mark.parametrize("name", [".", "..", "a/../b", "", "Upper:1", "a b", "-x", "a:", "a//b"])
def test_what_is_no_name_of_an_image_is_told_before_docker_is_asked(name: str) -> None:
    """Docker's interface would take ``.`` for the list of all images."""
    nobody: Any = None
    for look in (docker_image.find_image, docker_image.resolve_base):
        with pytest.raises(LaunchError, match="is no name of a Docker image"):
            look(nobody, name)
    with pytest.raises(LaunchError, match="is no name of a Docker image"):
        docker_image.build_docker(nobody, nobody, LOCK, name)


class _Images:
    """Knows one image, and which names it was given."""

    id = PIN
    attrs: ClassVar[dict[str, str]] = {"Architecture": platform.machine()}

    def __init__(self) -> None:
        self.names: list[tuple[str, str]] = []

    def get(self, _name: str) -> "_Images":
        return self

    def tag(self, name: str, version: str) -> None:
        self.names.append((name, version))

    def build(self, **_: object) -> list[dict[str, object]]:
        return [{"aux": {"ID": PIN}}]


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("minilingua", ("minilingua", "latest")),
        ("minilingua:1", ("minilingua", "1")),
        ("localhost:5000/group/minilingua:1", ("localhost:5000/group/minilingua", "1")),
        ("localhost:5000/minilingua", ("localhost:5000/minilingua", "latest")),
    ],
)
def test_the_port_of_a_registry_is_no_tag(
    tag: str, expected: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = _Images()
    client: Any = SimpleNamespace(images=images, api=images)
    monkeypatch.setattr(docker_image, "check", lambda *_: None)
    monkeypatch.setattr(docker_image, "docker_rootfs", lambda *_: PIN)
    context = Context(path=Path(), revision="r", lock_hash="h")
    assert docker_image.build_docker(client, context, LOCK, tag).tag == tag
    assert images.names == [expected]
    assert docker_image.find_image(client, f"{tag}@{PIN}")
    assert docker_image.find_image(client, PIN)


def test_a_daemon_that_one_may_not_use_is_not_to_be_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(**_: object) -> None:
        raise DockerException("Connection aborted, PermissionError(13, 'Permission denied')")

    monkeypatch.setattr("docker.from_env", refuse)
    with (
        pytest.raises(LaunchError, match=r"the right to use it \(the group `docker`\)"),
        docker_image.docker_client(),
    ):
        pass
