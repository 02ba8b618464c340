"""The same line in another directory gives the same bytes, training and evaluation included."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from minilingua.cli import STAGES
from tests.pipeline.workspace import Workspace, checkout

pytestmark = pytest.mark.pipeline


def _outputs(workspace: Workspace) -> dict[str, dict[str, str]]:
    lock: Any = YAML(typ="safe").load((workspace.path / "dvc.lock").read_text())
    return {
        stage: {out["path"]: out["md5"] for out in entry["outs"]}
        for stage, entry in lock["stages"].items()
    }


def test_two_checkouts_have_equal_hashes(smoke: Workspace, tmp_path: Path) -> None:
    other = checkout(tmp_path / "elsewhere" / "under-another-name")
    assert other.repro() == list(STAGES)
    assert _outputs(other) == _outputs(smoke)
