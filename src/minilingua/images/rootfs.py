"""One digest for the root file system of an image, whatever format the image has.

It covers names, types, modes, link targets and contents of what the image ships and everybody may
read: what is for root alone depends on who looks. It leaves out times and owners, and what a
container engine puts there when it starts the image.
"""

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO

from tqdm import tqdm

_CHUNK = 1 << 20
_MODE = 0o777
_VOLATILE = frozenset({"dev", "proc", "run", "sys", "tmp"})
"""Directories at the root that belong to the machine."""
_FORMAT = frozenset({".dockerenv", ".singularity.d", ".exec", ".run", ".shell", ".test"})
"""What a format adds at the root."""
_STARTED = frozenset(
    {
        *("environment", "singularity", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab"),
        *("etc/passwd", "etc/group"),  # Apptainer adds the user who looks
    }
)
"""What is written or linked when a container is made."""


def rootfs_digest(tar: IO[bytes]) -> str:
    """Returns ``sha256:..`` of a root file system given as an uncompressed tar stream."""
    entries: dict[str, str] = {}
    contents: dict[str, str] = {}
    hidden: list[str] = []
    with (
        tarfile.open(fileobj=tar, mode="r|", errorlevel=2) as archive,
        tqdm(unit="B", unit_scale=True, desc="digest", disable=None) as bar,
    ):
        for member in archive:
            name = PurePosixPath(member.name).as_posix().removeprefix("/")
            if not _is_shipped(name) or name.startswith(tuple(hidden)):
                continue
            if not _is_for_all(member):
                hidden += [f"{name}/"] if member.isdir() else []
                continue
            if member.isreg():
                stream = archive.extractfile(member)
                assert stream is not None  # a regular file has contents
                contents[name] = _sha256(stream)
                bar.update(member.size)
            entries[name] = _describe(member, name, contents)
    digest = hashlib.sha256()
    for name in sorted(entries):
        digest.update(f"{name}\x1f{entries[name]}\n".encode(errors="surrogateescape"))
    return f"sha256:{digest.hexdigest()}"


def _is_shipped(name: str) -> bool:
    top = name.partition("/")[0]
    return name not in {"", "."} | _STARTED and top not in _VOLATILE | _FORMAT


def _is_for_all(member: tarfile.TarInfo) -> bool:
    if member.isdir():
        return member.mode & 0o005 == 0o005
    return bool(member.mode & 0o004) or not (member.isreg() or member.islnk())


def _describe(member: tarfile.TarInfo, name: str, contents: dict[str, str]) -> str:
    if member.islnk():  # another name of a file that has been seen, or is not for everybody
        target = PurePosixPath(member.linkname).as_posix().removeprefix("/")
        contents[name] = contents.get(target, "")
    if name in contents:
        return f"file {member.mode & _MODE:o} {contents[name]}"
    if member.issym():
        return f"link {member.linkname}"
    if member.isdir():
        return "directory"
    return f"{member.type!r} {member.devmajor} {member.devminor}"


def _sha256(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


class ChunkStream:
    """Makes an iterator of byte strings readable like a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        """Returns up to ``size`` bytes, or all; fewer only at the end."""
        parts = [self._rest]
        length = len(self._rest)
        while size < 0 or length < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            parts.append(chunk)
            length += len(chunk)
        data = b"".join(parts)
        cut = len(data) if size < 0 else size
        self._rest = data[cut:]
        return data[:cut]
