"""The command ``minilingua image``: pin, build, inspect, verify and digest container images."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minilingua.core.errors import LaunchError
from minilingua.core.files import sha256_file
from minilingua.images.context import RECIPE_LOCK, build_context
from minilingua.images.docker_image import (
    build_docker,
    check,
    docker_client,
    docker_rootfs,
    find_image,
    resolve_base,
)
from minilingua.images.lock import LOCK, DockerImage, ImageLock, Sif, read_lock, write_lock
from minilingua.images.sif import (
    build_from_definition,
    build_from_docker,
    run_check,
    sif_labels,
    sif_rootfs,
    verify_signature,
)

TAG = "minilingua:latest"
SIF = Path("minilingua.sif")
_BASE_LABEL = "org.opencontainers.image.base.digest"
_LOCK_LABEL = "minilingua.lock.sha256"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    Raises:
        LaunchError: an image, Docker or Apptainer cannot be used.
        MissingInputError: a file is missing.
    """
    arguments = _parser().parse_args(argv)
    action: Callable[[argparse.Namespace], None] = arguments.action
    action(arguments)
    return 0


def _pin(arguments: argparse.Namespace) -> None:
    lock = read_lock(arguments.lock) if arguments.lock.exists() else None
    name = arguments.base or (lock and lock.base.image)
    if not name:
        raise LaunchError(f"{arguments.lock} is missing: name the base image to pin")
    with docker_client() as client:
        base = resolve_base(client, name)
    if lock is None or lock.base != base:  # what was built on another base is no longer ours
        write_lock(ImageLock(base=base), arguments.lock)
    _say(f"{arguments.lock}: {base.image} is {base.pin} ({base.kind})")


def _build_docker(arguments: argparse.Namespace) -> None:
    lock = read_lock(arguments.lock)
    lock.reference()
    with build_context() as context, docker_client() as client:
        built = build_docker(client, context, lock, arguments.tag)
    _record(arguments.lock, lock, docker=built)
    _say(f"{built.tag} is {built.id}; {arguments.lock} has it")


def _build_sif(arguments: argparse.Namespace) -> None:
    lock = read_lock(arguments.lock)
    lock.reference()
    output, signed = arguments.output, arguments.sign
    if arguments.source is not None:
        built = build_from_docker(arguments.source, output, signed=signed)
    else:
        with build_context() as context:
            built = build_from_definition(context, lock, output, signed=signed)
    _record(arguments.lock, lock, sif=built)
    _say(f"{arguments.output} is sha256:{built.sha256}; {arguments.lock} has it")


def _record(path: Path, lock: ImageLock, **built: DockerImage | Sif) -> None:
    """Writes down what was built, beside what was written meanwhile: builds take an hour."""
    now = read_lock(path)
    if now.base != lock.base:
        raise LaunchError(
            f"{path} pins the base {now.base.pin} now, and {lock.base.pin} when the build began; "
            "`minilingua image build` makes the image anew"
        )
    write_lock(now.model_copy(update=built), path)


def _inspect(arguments: argparse.Namespace) -> None:
    name = arguments.image
    about: dict[str, Any]
    if _is_sif(name):
        path = Path(name)
        about = {"labels": sif_labels(path)}
        about |= {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    else:
        with docker_client() as client:
            attributes = find_image(client, name).attrs
        about = {
            "architecture": attributes["Architecture"],
            "bytes": attributes["Size"],
            "id": attributes["Id"],
            "labels": attributes["Config"].get("Labels") or {},
        }
    print(json.dumps(about, indent=2, sort_keys=True))  # noqa: T201 - the program's output


def _verify(arguments: argparse.Namespace) -> None:
    lock = read_lock(arguments.lock)
    if _is_sif(arguments.image):
        path = Path(arguments.image)
        labels = sif_labels(path)
        if arguments.signature:
            verify_signature(path)
        _compare(
            str(path), sha256_file(path), lock.sif.sha256 if lock.sif else None, arguments.lock
        )
        run_check(path)
    else:
        with docker_client() as client:
            image = find_image(client, arguments.image)
            labels = image.labels
            _compare(
                arguments.image,
                str(image.id),
                lock.docker.id if lock.docker else None,
                arguments.lock,
            )
            check(client, image)
    if labels.get(_BASE_LABEL) != lock.base.pin:
        raise LaunchError(
            f"{arguments.image} was built on the base {labels.get(_BASE_LABEL)}, but "
            f"{arguments.lock} pins {lock.base.pin}"
        )
    if labels.get(_LOCK_LABEL) != sha256_file(RECIPE_LOCK):
        raise LaunchError(
            f"{arguments.image} was built from another {RECIPE_LOCK}; "
            "`minilingua image build` makes it anew"
        )
    _say(f"{arguments.image} is the recorded image, of this recipe, and passes its check")


def _compare(image: str, found: str, recorded: str | None, lock: Path) -> None:
    if recorded is None:
        raise LaunchError(f"{lock} records no such image; `minilingua image build` writes it")
    if found != recorded:
        raise LaunchError(f"{image} is {found}, but {lock} records {recorded}")


def _digest(arguments: argparse.Namespace) -> None:
    if _is_sif(arguments.image):
        sif_labels(Path(arguments.image))  # is it one, and for this machine?
        digest = sif_rootfs(Path(arguments.image))
    else:
        with docker_client() as client:
            digest = docker_rootfs(client, find_image(client, arguments.image))
    print(digest)  # noqa: T201 - the program's output


def _is_sif(image: str) -> bool:
    return image.endswith(".sif") or Path(image).is_file()


def _say(text: str) -> None:
    print(f"minilingua image: {text}")  # noqa: T201 - the program's output


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minilingua image",
        description="Container images of the training environment. The recipe is containers/; what "
        "was built, and on which base, is recorded in containers/image.lock.",
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--lock", type=Path, default=LOCK, help="another record (default: %(default)s)"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    pin = actions.add_parser(
        "pin", parents=[shared], help="look the base image's digest up and write it down"
    )
    pin.add_argument("base", nargs="?", help="the base image (default: the recorded one)")
    pin.set_defaults(action=_pin)

    build = actions.add_parser("build", help="build an image on the pinned base")
    kinds = build.add_subparsers(required=True, metavar="KIND")
    docker = kinds.add_parser("docker", parents=[shared], help="from containers/Dockerfile")
    docker.add_argument("--tag", default=TAG, help="its name (default: %(default)s)")
    docker.set_defaults(action=_build_docker)
    sif = kinds.add_parser("sif", parents=[shared], help="from containers/minilingua.def")
    sif.add_argument("output", nargs="?", type=Path, default=SIF, help="default: %(default)s")
    sif.add_argument(
        "--from",
        dest="source",
        metavar="IMAGE",
        help="make it of a Docker image instead: docker-daemon:NAME:TAG or docker-archive:FILE",
    )
    sif.add_argument(
        "--sign", action="store_true", help="sign it with the first key of the keyring"
    )
    sif.set_defaults(action=_build_sif)

    inspect = actions.add_parser("inspect", help="labels, size and digest as JSON")
    inspect.add_argument("image", help="a SIF or the name of a Docker image")
    inspect.set_defaults(action=_inspect)

    verify = actions.add_parser(
        "verify",
        parents=[shared],
        help="is it the recorded image, of this recipe, and does it run?",
    )
    verify.add_argument("image", nargs="?", default=str(SIF), help="default: %(default)s")
    verify.add_argument(
        "--signature", action="store_true", help="its signature has to be good, too"
    )
    verify.set_defaults(action=_verify)

    digest = actions.add_parser(
        "digest", help="of the root file system: the same for two builds of the same contents"
    )
    digest.add_argument("image", help="a SIF or the name of a Docker image")
    digest.set_defaults(action=_digest)
    return parser
