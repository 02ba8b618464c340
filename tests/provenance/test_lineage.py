import os
import subprocess
import sys
from pathlib import Path

import pytest

from minilingua.core.errors import DataError
from minilingua.provenance.lineage import DVC_LOCK, Lineage, dvc_md5, read_lineage

PIPELINE = """
stages:
  train:
    cmd: mkdir -p models/megatron reports/train && cp source models/megatron/weights &&
      cp source reports/train/events.jsonl && echo plot > reports/train/loss.csv
    deps: [source]
    outs: [models/megatron, reports/train]
  convert:
    cmd: mkdir -p models/hf && cp models/megatron/weights models/hf/model
    deps: [models/megatron]
    outs: [models/hf]
  evaluate:
    cmd: cp models/hf/model reports/evaluation.json
    deps: [models/hf]
    outs: [reports/evaluation.json]
"""


def dvc(*arguments: str) -> None:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1"}
    subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True, env=environment
    )


def told(lineage: Lineage) -> tuple[bool, bool, bool]:
    return (
        lineage.data_is_current(),
        lineage.model_is_current(),
        lineage.evaluation_is_current(),
    )


def test_follows_a_real_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text(PIPELINE)
    Path("source").write_text("first\n")
    dvc("init", "--no-scm", "--quiet")
    dvc("repro", "--quiet")
    stages = read_lineage().stages
    assert stages is not None
    recorded = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    assert recorded == {path: dvc_md5(Path(path)) for path in recorded}
    assert told(read_lineage()) == (True, True, True)

    Path("source").write_text("second\n")
    dvc("repro", "--quiet", "train")
    assert told(read_lineage()) == (True, False, False)
    assert told(read_lineage(after="convert")) == (True, True, False)
    dvc("repro", "--quiet", "convert")
    assert told(read_lineage()) == (True, True, False)

    dvc("repro", "--quiet")
    Path("models/hf/model").unlink()
    Path("models/hf/model").write_text("of another step\n")
    assert told(read_lineage()) == (True, False, True)

    Path("reports/train/loss.csv").unlink()
    Path("reports/train/loss.csv").write_text("another training\n")
    assert told(read_lineage()) == (False, False, False)


def test_without_a_lock_file_what_lies_here_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told(read_lineage()) == (False, False, False)
    Path("reports/train").mkdir(parents=True)
    Path("models/hf").mkdir(parents=True)
    Path("reports/evaluation.json").write_text("[]")
    assert told(read_lineage()) == (True, True, True)


def test_a_damaged_lock_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    DVC_LOCK.write_text("schema: '2.0'\n<<<<<<< HEAD\n")
    with pytest.raises(DataError, match="not a lock file of DVC"):
        read_lineage()
