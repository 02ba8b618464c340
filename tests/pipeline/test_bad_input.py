"""A mistake in the data or the parameters ends a stage with one line that says where."""

import json
from pathlib import Path

import pytest

from minilingua.core.tokens import open_token_file, write_token_file
from tests.pipeline.workspace import Workspace

pytestmark = pytest.mark.pipeline


def _fails(workspace: Workspace, *command: str, **environment: str) -> str:
    result = workspace.run(*command, check=False, **environment)
    assert result.returncode == 2, f"{result.returncode}\n{result.stdout}\n{result.stderr}"
    lines = [line for line in result.stderr.splitlines() if line]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


def test_an_unknown_key(smoke: Workspace, tmp_path: Path) -> None:
    workspace = smoke.copy(tmp_path / "checkout")
    workspace.edit("params.yaml", "clip_grad:", "clip_grads:")
    message = _fails(workspace, "minilingua", "train")
    assert "params.yaml: unknown key 'train.clip_grads' (did you mean 'clip_grad'?)" in message


def test_a_wrong_type(smoke: Workspace, tmp_path: Path) -> None:
    workspace = smoke.copy(tmp_path / "checkout")
    workspace.edit("params.yaml", "vocab_size: 1536", "vocab_size: many")
    message = _fails(workspace, "minilingua", "tokenizer")
    assert "tokenizer.vocab_size" in message
    assert "'many'" in message


def test_a_missing_raw_file(smoke: Workspace, tmp_path: Path) -> None:
    workspace = smoke.copy(tmp_path / "checkout")
    (workspace.path / "data/raw/exams/bg/dev.jsonl").unlink()
    message = _fails(workspace, "minilingua", "mcqa")
    assert "data/raw/exams/bg/dev.jsonl is missing; `minilingua fetch` makes it" in message


def test_an_unexpected_column(smoke: Workspace, tmp_path: Path) -> None:
    workspace = smoke.copy(tmp_path / "checkout")
    file = workspace.path / "data/raw/alpaca/bg/alpaca_cleaned_bg.json"
    text = file.read_text()
    file.unlink()  # it may be linked to the cache
    file.write_text(text.replace('"instruction"', '"prompt"'))
    message = _fails(workspace, "minilingua", "curate")
    assert file.name in message
    assert "prompt" in message


def test_a_mixture_of_a_language_without_data(smoke: Workspace, tmp_path: Path) -> None:
    workspace = smoke.copy(tmp_path / "checkout")
    workspace.edit("params.yaml", "weights: null", "weights: {en: 1.0, fi: 1.0}")
    tokens = workspace.path / "data/tokens/train/fi"
    digest = open_token_file(tokens).tokenizer_digest
    write_token_file(tokens, [], vocab_size=1536, tokenizer_digest=digest)
    message = _fails(workspace, "minilingua", "pack")
    assert "'fi'" in message


def test_bad_rows_are_counted_and_shown(smoke: Workspace) -> None:
    manifest = json.loads((smoke.path / "data/mcqa/manifest.json").read_text())
    assert manifest["dropped"]
    text = json.dumps(manifest["details"], ensure_ascii=False)
    assert "exams" in text
    assert "'@'" in text


def test_under_dvc_the_old_outputs_can_be_restored(smoke: Workspace, tmp_path: Path) -> None:
    workspace = smoke.copy(tmp_path / "checkout")
    workspace.edit("params.yaml", "global_batch: 2048", "global_batch: 1")
    result = workspace.run("dvc", "repro", "pack", check=False)
    assert result.returncode != 0
    assert "pack.global_batch 1 tokens is less than one pack" in result.stderr
    assert "`dvc checkout` restores them" in result.stderr
    workspace.edit("params.yaml", "global_batch: 1\n", "global_batch: 2048\n")
    workspace.run("dvc", "checkout")
    assert (workspace.path / "data/plan/plan.json").exists()
    assert workspace.repro() == []
