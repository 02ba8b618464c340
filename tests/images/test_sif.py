"""What becomes of a SIF when a step of its making fails; tests/infra builds for real."""

import os
from pathlib import Path

import pytest

from minilingua.core.errors import LaunchError
from minilingua.images.sif import build_from_docker

_APPTAINER = """#!/bin/bash
[[ " $* " == *" $REFUSED "* ]] && { echo "FATAL: no $REFUSED" >&2; exit 255; }
case $1 in
    build) echo new >"${@: -2:1}" ;;
    --silent) tar --create --file=- --files-from=/dev/null ;;
esac
"""


@pytest.fixture
def apptainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin/apptainer"
    program.parent.mkdir()
    program.write_text(_APPTAINER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("REFUSED", "nothing")


@pytest.mark.usefixtures("apptainer")
@pytest.mark.parametrize(
    ("refused", "told"),
    [
        ("build", "apptainer build: FATAL: no build"),
        ("check-image", "the image's check failed: FATAL: no check-image"),
        ("sign", "apptainer sign: FATAL: no sign"),
        ("tar", "not every file can be read: FATAL: no tar"),
    ],
)
def test_the_image_of_before_stays_until_the_new_one_is_good(
    refused: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sif = tmp_path / "images/minilingua.sif"
    sif.parent.mkdir()
    sif.write_text("old\n")
    monkeypatch.setenv("REFUSED", refused)
    with pytest.raises(LaunchError) as error:
        build_from_docker("docker-daemon:x:1", sif, signed=True)
    assert str(error.value) == f"{sif}: {told}"
    assert sif.read_text() == "old\n"
    assert list(sif.parent.iterdir()) == [sif]
    monkeypatch.setenv("REFUSED", "nothing")
    assert build_from_docker("docker-daemon:x:1", sif, signed=True).bytes == 4
    assert sif.read_text() == "new\n"
