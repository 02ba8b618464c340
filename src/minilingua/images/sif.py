"""SIF images through Apptainer, driven by spython."""

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

from spython.utils import run_command, stream_command

from minilingua.core.errors import LaunchError
from minilingua.core.files import fresh_aside, require, sha256_file
from minilingua.images.build_log import build_log
from minilingua.images.context import Context
from minilingua.images.docker_image import require_architecture
from minilingua.images.lock import ImageLock, Sif
from minilingua.images.rootfs import rootfs_digest

_MAGIC_AT = 32
"""Where a SIF's magic begins; its version (3 bytes) and architecture (3 bytes) follow."""
_ARCHITECTURES = {b"02": "amd64", b"04": "arm64", b"06": "ppc64le", b"12": "riscv64"}
DEFINITION = "containers/minilingua.def"
# Level 1 packs 20 GB in minutes; higher levels save little on libraries.
_SQUASH = ("--mksquashfs-args", "-comp zstd -Xcompression-level 1")


def find_apptainer() -> str:
    """Returns the program.

    Raises:
        LaunchError: there is none on PATH.
    """
    found = shutil.which("apptainer") or shutil.which("singularity")
    if found is None:
        raise LaunchError(
            "neither apptainer nor singularity is on PATH; load its module, or install Apptainer"
        )
    return found


def build_from_definition(
    context: Context, lock: ImageLock, path: Path, *, signed: bool = False
) -> Sif:
    """Builds the definition file on the pinned base; its ``%test`` is part of the build.

    Raises:
        LaunchError: the base is not pinned, or the build or signing fails; ``path`` is as it was.
    """
    arguments = context.arguments(lock.reference(), str(lock.base.pin))
    if lock.base.kind == "local":
        arguments["BOOTSTRAP"] = "docker-daemon"
    options = [
        part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")
    ]
    steps = [sign] if signed else []
    return _build(path, [*options, *_SQUASH], str(context.path / DEFINITION), context.path, steps)


def build_from_docker(source: str, path: Path, *, signed: bool = False) -> Sif:
    """Turns a Docker image into a SIF.

    Args:
        source: ``docker-daemon:NAME:TAG`` or ``docker-archive:FILE``.
        path: where to write it.
        signed: sign it.

    Raises:
        LaunchError: it cannot be done, or fails its check; ``path`` is as it was.
    """
    steps = [run_check, sign] if signed else [run_check]
    return _build(path, _SQUASH, source, Path.cwd(), steps)


def run_check(path: Path) -> None:
    """Runs the image's own check, without a network and with nothing of this machine bound.

    Raises:
        LaunchError: it fails.
    """
    command = [find_apptainer(), "exec", "--containall", "--net", "--network=none"]
    if os.geteuid() != 0:
        command = command[:3]  # only root may take the network away
    result = run_command([*command, str(path), "check-image"], quiet=True)
    if result["return_code"] != 0:
        raise LaunchError(f"{path}: the image's check failed: {_last(result['message'])}")


def record_sif(path: Path) -> Sif:
    """Returns what is written down of a SIF."""
    return Sif(sha256=sha256_file(path), bytes=path.stat().st_size, rootfs=sif_rootfs(path))


def sif_labels(path: Path) -> dict[str, str]:
    """Returns the labels of a SIF.

    Raises:
        MissingInputError: there is no such file.
        LaunchError: it is no SIF, or for another kind of machine.
    """
    require(path, made_by="minilingua image build sif")
    result = run_command([find_apptainer(), "inspect", "--json", "--labels", str(path)], quiet=True)
    if result["return_code"] != 0:
        raise LaunchError(f"{path}: cannot be read: {_last(result['message'])}")
    try:
        labels: dict[str, str] = json.loads(result["message"][0])["data"]["attributes"]["labels"]
    except (ValueError, KeyError, TypeError) as error:
        raise LaunchError(f"{path}: has no labels that can be read") from error
    require_sif_architecture(path)
    return labels


def require_sif_architecture(path: Path) -> None:
    """Reads for which kind of machine a SIF was built, from its header.

    Raises:
        LaunchError: not for this one, or the file is no SIF.
    """
    with path.open("rb") as stream:
        header = stream.read(_MAGIC_AT + 16)
    magic, code = header[_MAGIC_AT : _MAGIC_AT + 10], header[_MAGIC_AT + 13 :][:2]
    if magic != b"SIF_MAGIC\0":
        raise LaunchError(f"{path}: is no SIF")
    require_architecture(_ARCHITECTURES.get(code, f"code {code.decode(errors='replace')}"), path)


def sif_rootfs(path: Path) -> str:
    """Returns the digest of a SIF's root file system.

    Raises:
        LaunchError: it cannot be read as a whole.
    """
    # Nothing of this machine, nor mount points for it; unreadable files are no part of the digest.
    command = [find_apptainer(), "--silent", "exec", "--containall", "--pwd", "/"]
    command += ["--no-mount", "tmp,home,cwd,bind-paths", str(path)]
    command += ["tar", "--create", "--one-file-system", "--ignore-failed-read"]
    command += ["--directory=/", "--file=-", "."]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:  # noqa: S603 - fixed arguments
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            digest = rootfs_digest(process.stdout)
        except tarfile.ReadError:  # it could not begin, or ended early
            digest = ""
        # tar pads its last record beyond what its reader needs.
        while process.stdout.read(1 << 16):
            pass
        said = process.stderr.read().decode(errors="replace")
    if process.returncode != 0 or not digest:
        raise LaunchError(f"{path}: not every file can be read: {_last([said])}")
    return digest


def sign(path: Path) -> None:
    """Signs a SIF with the first key of the user's keyring.

    Raises:
        LaunchError: there is no key, or it cannot be used.
    """
    _run_or_tell("sign", path)


def verify_signature(path: Path) -> None:
    """Checks the signatures of a SIF against the local keyring.

    Raises:
        LaunchError: there is none, or one is not good.
    """
    _run_or_tell("verify", path, "--local")


def _run_or_tell(action: str, path: Path, *options: str) -> None:
    require(path, made_by="minilingua image build sif")
    result = run_command([find_apptainer(), action, *options, str(path)], quiet=True)
    if result["return_code"] != 0:
        raise LaunchError(f"{path}: apptainer {action}: {_last(result['message'])}")


def _build(
    path: Path,
    options: Sequence[str],
    source: str,
    directory: Path,
    steps: Sequence[Callable[[Path], None]],
) -> Sif:
    # Apptainer takes an image that is there for one that it has built: build beside, then move.
    aside = fresh_aside(path.absolute())
    aside.parent.mkdir(parents=True, exist_ok=True)
    command = [find_apptainer(), "build", *options, str(aside), source]
    try:
        with build_log("apptainer build") as log, chdir(directory):
            try:
                for line in stream_command(command, output_type="both"):
                    log.add(line.rstrip("\n"))
            except subprocess.CalledProcessError as error:
                raise LaunchError(f"{path}: apptainer build: {log.reason()}") from error
            if not aside.is_file():
                raise LaunchError(f"{path}: apptainer build made no image: {log.reason()}")
        try:
            for step in steps:
                step(aside)
            built = record_sif(aside)
        except LaunchError as error:
            raise LaunchError(str(error).replace(str(aside), str(path))) from error
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return built


def _last(message: Sequence[str] | Mapping[str, Any] | None) -> str:
    lines = [line.strip() for part in message or () for line in str(part).splitlines()]
    return next((line for line in reversed(lines) if line), "no output")
