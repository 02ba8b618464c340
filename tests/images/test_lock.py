from pathlib import Path

import pytest

from minilingua.core.errors import LaunchError, MissingInputError
from minilingua.images.lock import Base, ImageLock, Sif, read_lock, repository, write_lock

REPOSITORY = Path(__file__).parents[2]
PIN = "sha256:" + "0" * 64


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "image.lock"
    lock = ImageLock(
        base=Base(image="host/name:1", kind="registry", pin=PIN),
        sif=Sif(sha256="1" * 64, bytes=3, rootfs=PIN),
    )
    write_lock(lock, path)
    assert read_lock(path) == lock


def test_a_base_is_named_by_its_digest() -> None:
    registry = Base(image="host:5000/group/name:25.04", kind="registry", pin=PIN)
    assert ImageLock(base=registry).reference() == f"host:5000/group/name@{PIN}"
    local = Base(image="name:current", kind="local", pin=PIN)
    assert ImageLock(base=local).reference() == PIN
    with pytest.raises(LaunchError, match=r"name:1 is not pinned.*`minilingua image pin`"):
        ImageLock(base=Base(image="name:1")).reference()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("name", "name"),
        ("name:tag", "name"),
        ("host:5000/name", "host:5000/name"),
        ("host:5000/group/name:tag", "host:5000/group/name"),
        ("name@" + PIN, "name"),
    ],
)
def test_a_port_is_no_tag(image: str, expected: str) -> None:
    assert repository(image) == expected


def test_the_shipped_lock_is_for_ngc() -> None:
    lock = read_lock(REPOSITORY / "containers/image.lock")
    assert lock.base.image == "nvcr.io/nvidia/pytorch:25.04-py3"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{", "image.lock: file: Invalid JSON"),
        ("{}", "image.lock: base: Field required"),
        ('{"base": {"image": "a", "pinn": "b"}}', "image.lock: base.pinn: Extra inputs"),
        (
            '{"base": {"image": "a", "kind": "registry", "pin": "sha256:.."}}',
            "image.lock: base.pin: expected sha256: and 64 hexadecimal digits, found 'sha256:..'",
        ),
        ("\udcff", "image.lock: file: Invalid JSON"),
    ],
)
def test_a_bad_lock_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "image.lock"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(LaunchError, match=expected):
        read_lock(path)


def test_a_missing_lock_names_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="minilingua image pin"):
        read_lock(tmp_path / "image.lock")
