"""containers/image.lock: which base the image is built on, and the images that were built.

A SIF's bytes are not reproducible: the team's image is the one whose SHA-256 stands here. Two
builds are compared by the digest of their root file systems (rootfs.py).
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from minilingua.core.errors import LaunchError
from minilingua.core.files import require, write_json

LOCK = Path("containers/image.lock")


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Base(_Entry):
    """The image to build on."""

    image: str
    """As it is called: ``registry/repository:tag``, or a local tag."""
    kind: Literal["registry", "local"] | None = None
    """Where the pin is from: the registry's digest, or the id of a local image without one."""
    pin: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = None
    """``sha256:`` and 64 hexadecimal digits; null: nobody has looked it up yet."""


class DockerImage(_Entry):
    """A Docker image that was built."""

    id: str
    tag: str
    rootfs: str
    """Digest of the root file system."""


class Sif(_Entry):
    """A SIF that was built."""

    sha256: str
    bytes: int
    rootfs: str
    """Digest of the root file system."""


class ImageLock(_Entry):
    """The file."""

    base: Base
    docker: DockerImage | None = None
    sif: Sif | None = None

    def reference(self) -> str:
        """Returns the base in the form that names one image for ever.

        Raises:
            LaunchError: it is not pinned.
        """
        if self.base.pin is None:
            raise LaunchError(
                f"the base image {self.base.image} is not pinned to a digest; "
                "`minilingua image pin` looks it up and writes it down"
            )
        if self.base.kind == "local":
            return self.base.pin
        return f"{repository(self.base.image)}@{self.base.pin}"


def read_lock(path: Path = LOCK) -> ImageLock:
    """Reads the lock.

    Raises:
        MissingInputError: there is none.
        LaunchError: it holds something else.
    """
    text = require(path, made_by="minilingua image pin").read_bytes()
    try:
        return ImageLock.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "file"
        told = first["msg"]
        if first["type"] == "string_pattern_mismatch":
            told = f"expected sha256: and 64 hexadecimal digits, found {first['input']!r}"
        raise LaunchError(f"{path}: {key}: {told}") from error


def write_lock(lock: ImageLock, path: Path = LOCK) -> None:
    """Replaces the lock."""
    write_json(path, lock.model_dump())


def repository(image: str) -> str:
    """Returns an image's name without its tag; a port is not a tag."""
    head, slash, last = image.rpartition("/")
    return f"{head}{slash}{last.partition('@')[0].partition(':')[0]}"
