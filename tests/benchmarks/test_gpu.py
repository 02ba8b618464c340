"""The GPU check on a CPU, at its shortest: every section runs and the table is written."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu
from benchmarks.gpu_data import MEAN_TOKENS, lengths

ROOT = Path(__file__).parents[2]


def test_everything_but_the_restart_runs_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The restart starts three trainings; tests/launch/test_verify_restart.py has that."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(gpu, "_restart", lambda *_: {"passed": True, "error": None})
    assert gpu.main(["--short", "--output", str(tmp_path)]) == 0
    found: dict[str, Any] = json.loads((tmp_path / "gpu.json").read_text())
    assert found["backends"]["sdpa"]["isolated"]
    assert found["backends"]["sdpa"]["relative_distance_from_fp32"]["losses"] < 0.01
    ours = [item for item in found["throughput"] if item["side"] == "ours, sdpa"]
    theirs = [item for item in found["throughput"] if item["side"].startswith("transformers")]
    assert [(item["pack"], item["packs_joined"]) for item in ours] == [(256, 2), (512, 1)]
    assert all(item["tokens_per_s"] > item["supervised_tokens_per_s"] > 0 for item in ours)
    assert theirs[0]["conversations_per_s"] > 0
    table = (tmp_path / "gpu.md").read_text()
    assert "nothing here is a measurement" in table
    assert table in capsys.readouterr().out


def test_without_time_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(gpu, "_restart", lambda *_: {"passed": True, "error": None})
    gpu.main(["--short", "--minutes", "0", "--output", str(tmp_path)])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {item["skipped"] for item in found["throughput"]} == {"no time left"}


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main([]) == 2
    assert "torch sees no GPU" in capsys.readouterr().err


def test_conversations_are_as_long_as_the_real_ones() -> None:
    drawn = lengths(20_000, 2048)
    assert sum(drawn) / len(drawn) == pytest.approx(MEAN_TOKENS, rel=0.01)
    assert max(drawn) <= 2048


def test_the_wheels_are_those_of_the_image() -> None:
    done = subprocess.run(
        [ROOT / "benchmarks/gpu.sh", "--list"], capture_output=True, text=True, check=True
    )
    pinned = [line for line in done.stdout.splitlines() if "==" in line]
    image = (ROOT / "containers/requirements.txt").read_text().splitlines()
    assert pinned == [line for line in image if not line.startswith("#")]
    assert "pip download" in done.stdout
