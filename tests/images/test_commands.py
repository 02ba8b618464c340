"""`minilingua image` without an engine; tests/infra builds for real."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minilingua.core.errors import LaunchError
from minilingua.images import commands
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
