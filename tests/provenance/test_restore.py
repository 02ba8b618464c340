from pathlib import Path
from typing import Any

import pytest

from minilingua.core.errors import DataError
from minilingua.images.lock import Base, DockerImage, ImageLock, Sif, write_lock
from minilingua.provenance.restore import IMAGE_LOCK, check_image

SIF = Sif(sha256="a" * 64, bytes=1, rootfs="b" * 64)
DOCKER = DockerImage(id=f"sha256:{'c' * 64}", tag="minilingua:1", rootfs="b" * 64)


def check(clone: Path, *digests: str | None, **images: Any) -> None:
    """Restores a passport of attempts in some images where the lock records ``images``."""
    write_lock(ImageLock(base=Base(image="base:1"), **images), clone / IMAGE_LOCK)
    attempts = [{"attempt": n, "image_digest": digest} for n, digest in enumerate(digests, 1)]
    check_image({"attempts": attempts, "code": {"commit": "1" * 40}}, clone)


def test_the_image_of_the_training_is_the_one_that_is_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(tmp_path, f"sha256:{SIF.sha256}", sif=SIF, docker=DOCKER)
    check(tmp_path, None, DOCKER.id, docker=DOCKER)  # one attempt ran in none
    assert capsys.readouterr().out.splitlines() == [
        f"{IMAGE_LOCK} records the image of the training, sha256:{SIF.sha256}",
        f"{IMAGE_LOCK} records the image of the training, {DOCKER.id}",
    ]


def test_a_training_in_no_image_needs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(tmp_path, None, sif=SIF)
    check(tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("images", [{"sif": SIF}, {"docker": DOCKER}, {}])
def test_another_image_cannot_be_verified(tmp_path: Path, images: dict[str, Any]) -> None:
    told = "in the image sha256:dd, but containers/image.lock of 1{40} records .*: it cannot be"
    with pytest.raises(DataError, match=told):
        check(tmp_path, "sha256:dd", **images)
