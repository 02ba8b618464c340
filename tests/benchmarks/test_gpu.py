"""The GPU check on a CPU, at its shortest: every section runs and the table is written."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu, gpu_checks
from benchmarks.gpu_clock import Sweep, clocked
from benchmarks.gpu_data import MEAN_TOKENS, lengths
from benchmarks.gpu_report import markdown
from benchmarks.gpu_transformers import packed, padded

ROOT = Path(__file__).parents[2]
RESTARTED = {"passed": True, "error": None, "attention": "sdpa", "dropout": [0.1, 0.1]}


def test_everything_but_the_restart_runs_on_a_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The restart starts three trainings; tests/launch/test_verify_restart.py has that."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(gpu, "_restart", lambda *_: RESTARTED)
    assert gpu.main(["--short", "--output", str(tmp_path)]) == 0
    found: dict[str, Any] = json.loads((tmp_path / "gpu.json").read_text())
    assert found["backends"]["sdpa"]["isolated"]
    assert found["backends"]["sdpa"]["relative_distance_from_fp32"]["losses"] < 0.01
    assert found["backends"]["sdpa"]["relative_distance_of_chunks"] < 0.01
    ours = [item for item in found["throughput"] if item["side"] == "ours, sdpa"]
    theirs = [item for item in found["throughput"] if item["side"].startswith("transformers")]
    assert [(item["pack"], item["packs_joined"]) for item in ours] == [(256, 2), (512, 1)]
    assert all(item["tokens_per_s"] > item["supervised_tokens_per_s"] > 0 for item in ours)
    assert [item["side"] for item in theirs] == [
        "transformers, sdpa, padded",
        "transformers, sdpa, packed",
    ]
    assert all(item["conversations_per_s"] > 0 for item in theirs)
    assert not found["failed"]
    table = (tmp_path / "gpu.md").read_text()
    assert "nothing here is a measurement" in table
    assert table in capsys.readouterr().out


def test_without_time_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(gpu, "_restart", lambda *_: RESTARTED)
    gpu.main(["--short", "--minutes", "0", "--output", str(tmp_path)])
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert {item["skipped"] for item in found["throughput"]} == {"no time left"}


def test_what_fails_is_told_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that does not run, a section that does not, a step that does not."""
    monkeypatch.chdir(ROOT)
    build = gpu_checks._build

    def broken(model: Any, tensors: Any, backend: Any, precision: Any, device: Any) -> Any:
        if precision == "bf16":
            raise RuntimeError("no kernel\nat length")
        return build(model, tensors, backend, precision, device)

    def nothing(*_: object) -> None:
        raise ValueError("no restart")

    monkeypatch.setattr(gpu_checks, "_build", broken)
    monkeypatch.setattr(gpu, "_restart", nothing)
    monkeypatch.setattr("benchmarks.gpu_throughput.Engine.train_step", nothing)
    assert gpu.main(["--short", "--output", str(tmp_path)]) == 1
    found: dict[str, Any] = json.loads((tmp_path / "gpu.json").read_text())
    assert found["backends"]["sdpa"] == {"passed": False, "failed": "RuntimeError: no kernel"}
    assert found["failed"] == {"restart": "ValueError: no restart"}
    sides = [(item["side"], item.get("failed")) for item in found["throughput"]]
    assert sides[:2] == [("ours, sdpa", "ValueError: no restart")] * 2
    assert sides[2:] == [(f"transformers, sdpa, {kind}", None) for kind in ("padded", "packed")]
    table = (tmp_path / "gpu.md").read_text()
    assert "| sdpa | FAILED: RuntimeError: no kernel |" in table
    assert "| restart | FAILED: ValueError: no restart |" in table


def test_too_little_memory_is_a_result() -> None:
    def step() -> None:
        raise torch.OutOfMemoryError

    assert clocked(step, 1, torch.device("cpu")) == {"skipped": "out of memory"}


def test_it_does_not_depend_on_the_experiment_in_params_yaml(tmp_path: Path) -> None:
    """Whoever has a GPU has probably configured a training of several of them."""
    for name in ("conf", "dvc.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    command = [sys.executable, "-m", "minilingua", "configure", "experiment=triton"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        model = gpu._model("smoke")
        usual = gpu._params(model, profile="fast").train
        patch.setattr(gpu, "_ROOT", tmp_path)
        found = gpu._params(model, profile="fast").train
    ours = {"early_stopping", "save_interval", "eval_interval", "threads", "decay_steps"}
    differing = {name for name, value in found if value != getattr(usual, name)}
    assert differing <= ours | {"attention", "hidden_dropout", "attention_dropout"}


def test_rows_of_transformers_packed_are_isolated_and_hold_what_padded_ones_do() -> None:
    sweep = Sweep(
        vocab_size=97,
        pack_lengths=(),
        tokens_per_micro_batch=(),
        tokens_per_step=0,
        steps=1,
        padded_rows=(),
        padded_to=16,
    )
    sizes, device = [9, 16, 8], torch.device("cpu")
    apart = padded(sizes, sweep, device)
    together = packed(sizes, sweep, device, described=False)
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=97,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            attn_implementation="sdpa",
        )
    )
    with torch.no_grad():
        losses = [llama(**batch, use_cache=False).loss for batch in (apart, together)]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-5)
    described = packed(sizes, sweep, device, described=True)
    assert described["cu_seq_lens_q"].tolist() == [0, 9, 25, 33]
    assert described["max_length_q"] == 16


def test_a_number_that_json_lacks_is_written(tmp_path: Path) -> None:
    from benchmarks import gpu_report

    check = {
        "isolated": False,
        "passed": False,
        "relative_distance_from_fp32": {"losses": float("nan")},
        "relative_distance_of_chunks": None,
    }
    result = {
        "short": True,
        "environment": gpu_report.environment(),
        "backends": {"te": check},
        "compiled": {"total": 3, "ok": 2},
    }
    gpu_report.write(result, tmp_path)
    assert '"losses": "nan"' in (tmp_path / "gpu.json").read_text()
    assert "| te | FAILED: NOT isolated; from fp32: losses nan |" in markdown(result)
    assert "torch compiled 2 of 3 functions" in markdown(result)


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


def test_what_is_missing_is_told_in_a_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "benchmarks/gpu.sh", "--wheels", str(tmp_path / "none"), "--short"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert (
        done.stderr
        == f"gpu: error: {tmp_path}/none: is no folder; --list tells what it has to hold\n"
    )


def test_a_driver_that_fails_at_expandable_segments_is_asked_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def zeros(*_: object, **__: object) -> None:
        if not asked:
            raise RuntimeError("CUDA driver error: unknown error")

    monkeypatch.setattr(torch, "zeros", zeros)
    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", asked.append)
    monkeypatch.setenv("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    gpu._settle_memory()
    assert asked == [os.environ["PYTORCH_ALLOC_CONF"]] == ["expandable_segments:False"]
