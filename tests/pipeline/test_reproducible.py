"""The same line in another directory gives the same bytes, training and evaluation included."""

import json
from pathlib import Path

import pytest

from minilingua.cli import STAGES
from tests.pipeline.golden import DATA_STAGES, GOLDEN
from tests.pipeline.workspace import Workspace, checkout

pytestmark = pytest.mark.pipeline


def test_two_checkouts_have_equal_hashes(smoke: Workspace, tmp_path: Path) -> None:
    other = checkout(tmp_path / "elsewhere" / "under-another-name")
    assert other.repro() == list(STAGES)
    for stage in STAGES:
        assert other.outputs(stage) == smoke.outputs(stage)


def test_data_stages_have_the_same_hashes_on_every_machine(prepared: Workspace) -> None:
    found = {stage: prepared.outputs(stage) for stage in DATA_STAGES}
    expected = json.loads(GOLDEN.read_text())
    assert found == expected, (
        "the bytes of a data stage are others than when the golden file was written; "
        "if that is meant: python -m tests.pipeline.golden"
    )
