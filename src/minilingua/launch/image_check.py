"""The image that a stage runs in has to be the one that containers/image.lock records."""

import os
from pathlib import Path

from minilingua.core.errors import LaunchError
from minilingua.core.files import read_json, sha256_file, write_json
from minilingua.images.lock import LOCK, read_lock
from minilingua.launch.cluster import Cluster

_KNOWN = Path("runs/image_digests.json")
"""Digests of files that have not changed since: an image of 20 GB takes half a minute to read."""


def require_image(cluster: Cluster) -> str | None:
    """Returns the digest of a cluster's image; None where nothing is contained.

    Raises:
        LaunchError: the image is missing, is not the recorded one, or is for other machines.
    """
    if cluster.container == "bare":
        return None
    lock = read_lock()
    if cluster.container == "docker":
        from minilingua.images.docker_image import docker_client, find_image, require_architecture

        with docker_client() as client:
            image = find_image(client, str(cluster.image))
        found = _compare(str(cluster.image), str(image.id), lock.docker.id if lock.docker else None)
        require_architecture(str(image.attrs.get("Architecture")), str(cluster.image))
        return found
    from minilingua.images.sif import find_apptainer, require_sif_architecture

    find_apptainer()
    path = Path(str(cluster.image))
    if not path.is_file():
        raise LaunchError(
            f"{path} is missing; `minilingua image build sif {path}` makes it, or copy the image "
            f"that {LOCK} records there"
        )
    recorded = f"sha256:{lock.sif.sha256}" if lock.sif else None
    digest = _compare(str(path), f"sha256:{_sha256(path)}", recorded)
    require_sif_architecture(path)
    return digest


def _compare(name: str, found: str, recorded: str | None) -> str:
    if recorded is None:
        raise LaunchError(
            f"{LOCK} records no image to compare {name} with; `minilingua image build` writes it"
        )
    if found != recorded:
        raise LaunchError(
            f"{name} is {found}, but {LOCK} records {recorded}: it was changed or built anew; use "
            "the recorded image, or record this one with `minilingua image build`"
        )
    return found


def _sha256(path: Path) -> str:
    state = path.stat()
    stamp = f"{state.st_dev}:{state.st_ino}:{state.st_size}:{state.st_mtime_ns}"
    known = read_json(_KNOWN) if _KNOWN.exists() else {}
    name = os.path.realpath(path)
    if known.get(name, {}).get("stamp") != stamp:
        known[name] = {"stamp": stamp, "sha256": sha256_file(path)}
        write_json(_KNOWN, known)
    digest: str = known[name]["sha256"]
    return digest
