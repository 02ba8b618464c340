"""Docker images through docker-py: the base resolved, the recipe built, the result checked."""

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import docker
import requests
from docker import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.images import Image
from docker.utils import parse_repository_tag

from minilingua.core.errors import LaunchError
from minilingua.images.build_log import build_log
from minilingua.images.context import Context
from minilingua.images.lock import Base, DockerImage, ImageLock, repository
from minilingua.images.rootfs import ChunkStream, rootfs_digest

DOCKERFILE = "containers/Dockerfile"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_PART = r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*"
_NAME = re.compile(
    rf"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d+)?/)?{_PART}(?:/{_PART})*(?::\w[\w.-]*)?(?:@\w+:\w+)?",
    re.ASCII,
)
"""Host, repository, tag and digest, as Docker reads them."""


@contextmanager
def docker_client() -> Iterator[DockerClient]:
    """Yields a client of the Docker daemon.

    Raises:
        LaunchError: there is no daemon, or it refuses; also for what it refuses in the block.
    """
    try:
        client = docker.from_env(timeout=600)
    except DockerException as error:
        reason = _reason(error)
        how = "start it (`systemctl start docker`)"
        if "Permission denied" in reason:
            how = "ask for the right to use it (the group `docker`)"
        raise LaunchError(
            f"Docker's daemon does not answer ({reason}); {how}, or name another with DOCKER_HOST"
        ) from error
    try:
        yield client
    except APIError as error:
        raise LaunchError(f"Docker: {_reason(error)}") from error
    except requests.exceptions.RequestException as error:
        raise LaunchError(f"Docker's daemon went away: {_reason(error)}") from error
    finally:
        client.close()


def resolve_base(client: DockerClient, name: str) -> Base:
    """Returns the base with the digest that its registry gives it now, pulling it when needed.

    An image that is in no registry is pinned by its id.

    Raises:
        LaunchError: there is no such image, or it is for another kind of machine.
    """
    _require_name(name)
    try:
        image = client.images.pull(name) if _is_remote(name) else client.images.get(name)
    except ImageNotFound as error:
        raise LaunchError(f"there is no image {name!r}: {_reason(error)}") from error
    require_architecture(str(image.attrs.get("Architecture")), name)
    digests = [
        digest.partition("@")[2]
        for digest in image.attrs.get("RepoDigests") or ()
        if digest.partition("@")[0] == repository(name)
    ]
    if digests:
        return Base(image=name, kind="registry", pin=digests[0])
    return Base(image=name, kind="local", pin=image.id)


def build_docker(client: DockerClient, context: Context, lock: ImageLock, tag: str) -> DockerImage:
    """Builds the Dockerfile on the pinned base and gives the result its tag once it passes.

    Raises:
        LaunchError: the base is not pinned or not there, or the build or its check fails.
    """
    _require_name(tag)  # before an hour of building
    reference = lock.reference()
    _have(client, reference)
    arguments = context.arguments(reference, str(lock.base.pin))
    with build_log("docker build") as log:
        built = ""
        for event in client.api.build(
            path=str(context.path),
            dockerfile=DOCKERFILE,
            buildargs=arguments,
            rm=True,
            forcerm=True,
            decode=True,
        ):
            for line in str(event.get("stream", "")).splitlines():
                log.add(line)
            if "error" in event:
                raise LaunchError(
                    f"{DOCKERFILE}: {' '.join(str(event['error']).split())} ({log.reason()})"
                )
            built = event.get("aux", {}).get("ID", built)
        if not built:
            raise LaunchError(f"{DOCKERFILE}: the build ended without an image: {log.reason()}")
    image = client.images.get(built)
    check(client, image)
    name, version = parse_repository_tag(tag)
    image.tag(name, version or "latest")
    return DockerImage(id=str(image.id), tag=tag, rootfs=docker_rootfs(client, image))


def check(client: DockerClient, image: Image) -> None:
    """Runs the image's own check as nobody, without a network, on a read-only file system.

    Raises:
        LaunchError: it fails, or the image is for another kind of machine.
    """
    require_architecture(str(image.attrs.get("Architecture")), str(image.id))
    container = client.containers.run(
        str(image.id),
        ["check-image"],
        detach=True,
        network_mode="none",
        read_only=True,
        tmpfs={"/tmp": ""},  # noqa: S108 - in the container
        user="65534:65534",
    )
    try:
        code = container.wait()["StatusCode"]
        if code != 0:
            lines = container.logs(tail=20).decode(errors="replace").strip().splitlines()
            raise LaunchError(f"the image's check ended with {code}: {' | '.join(lines[-3:])}")
    finally:
        container.remove(force=True)


def require_architecture(found: str, image: str | Path) -> None:
    """Compares an image's architecture with this machine's.

    Raises:
        LaunchError: they differ.
    """
    here = _ARCHITECTURES.get(platform.machine(), platform.machine())
    if found and _ARCHITECTURES.get(found, found) != here:
        raise LaunchError(f"{image} is built for {found}, this machine is {here}; build it here")


def docker_rootfs(client: DockerClient, image: Image) -> str:
    """Returns the digest of an image's root file system."""
    container = client.containers.create(str(image.id), ["true"])
    try:
        return rootfs_digest(cast("Any", ChunkStream(container.export())))
    finally:
        container.remove(force=True)


def find_image(client: DockerClient, name: str) -> Image:
    """Returns a local image.

    Raises:
        LaunchError: there is none of that name.
    """
    _require_name(name)
    try:
        return client.images.get(name)
    except ImageNotFound as error:
        raise LaunchError(
            f"Docker has no image {name!r}; `minilingua image build docker` makes it"
        ) from error


def _have(client: DockerClient, reference: str) -> None:
    try:
        client.images.get(reference)
    except ImageNotFound:
        if reference.startswith("sha256:"):
            raise LaunchError(
                f"the base image {reference} is no longer on this machine; "
                "`minilingua image pin` pins another"
            ) from None
        client.images.pull(reference)


def _require_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise LaunchError(
            f"{name!r} is no name of a Docker image, which is like minilingua:latest, in lower case"
        )


def _is_remote(name: str) -> bool:
    """A name is looked up where its first part is a host, as ``docker pull`` reads it."""
    host, slash, _ = name.partition("/")
    return bool(slash) and bool(re.search(r"[.:]", host))


def _reason(error: Exception) -> str:
    explained = getattr(error, "explanation", None) or str(error)
    return " ".join(str(explained).split())
