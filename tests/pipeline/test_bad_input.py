"""A mistake in the data or the parameters ends a stage with one line that says where."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from minilingua.core.files import tree_digest, tree_files
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
    assert "exams" in manifest["dropped"]["key_outside_options"]
    (rows,) = (smoke.path / "data/mcqa/rejects").iterdir()
    assert "answerKey '@' is not among the labels" in rows.read_text()


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


@contextmanager
def _small_disk(directory: Path, *, room: int) -> Iterator[None]:
    """Moves a directory to a disk of its own that has ``room`` bytes left."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    used = sum(-(-file.stat().st_size // 4096) * 4096 for file in tree_files(directory))
    kept = directory.with_name(f"{directory.name}.kept")
    directory.rename(kept)
    directory.mkdir()
    size = f"size={used + room}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(directory)], check=True)
    try:
        shutil.copytree(kept, directory, symlinks=True, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)
        directory.rmdir()
        kept.rename(directory)


@pytest.mark.parametrize(
    ("stage", "directory", "output"),
    [("fetch", "data", "data/raw"), ("convert", "models", "models/hf")],
)
def test_a_full_disk_is_one_line_and_the_old_output_stays(
    smoke: Workspace, tmp_path: Path, stage: str, directory: str, output: str
) -> None:
    workspace = smoke.copy(tmp_path / "checkout")
    before = tree_digest(workspace.path / output)
    with _small_disk(workspace.path / directory, room=100_000):
        message = _fails(workspace, "minilingua", stage)
        assert "No space left on device" in message
        assert tree_digest(workspace.path / output) == before
        parent = (workspace.path / output).parent
        assert not list(parent.glob(".*.tmp"))  # what was half-written is gone


def test_a_training_goes_on_when_a_full_disk_has_room_again(
    prepared: Workspace, smoke: Workspace, tmp_path: Path
) -> None:
    workspace = prepared.copy(tmp_path / "checkout")
    runs = workspace.path / "runs"
    runs.mkdir()
    with _small_disk(runs, room=2_800_000):  # for two sets of weights, not for a whole state
        result = workspace.run("minilingua", "train", check=False)
        assert result.returncode == 2, result.stderr
        last = result.stderr.splitlines()[-1]
        assert last.startswith("train: error: ")
        assert "step_00000005: cannot be written: " in last
        assert "No space left on device" in last or "bytes are left" in last
        assert "Traceback" not in result.stderr
        subprocess.run(["mount", "-o", "remount,size=32m", str(runs)], check=True)
        workspace.run("dvc", "repro", "train")
        assert workspace.outputs("train") == smoke.outputs("train")


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("data/tokens/train/fi/tokens.bin", "has {} bytes where meta.json implies"),
        ("data/plan/train/conversations.bin", "has {} bytes where plan.json implies"),
        ("models/base/model.safetensors", "models/base"),
    ],
)
def test_truncated_inputs_of_the_training_are_named(
    smoke: Workspace, tmp_path: Path, file: str, message: str
) -> None:
    workspace = smoke.copy(tmp_path / "checkout")
    data = (workspace.path / file).read_bytes()[:-9]
    (workspace.path / file).unlink()  # it may be linked to the cache
    (workspace.path / file).write_bytes(data)
    assert message.format(len(data)) in _training_fails(workspace)


def test_changed_tokens_and_plan_are_named(smoke: Workspace, tmp_path: Path) -> None:
    for file, message in (
        ("data/tokens/train/fi/tokens.bin", "holds other tokens than those that data/plan was"),
        ("data/plan/train/conversations.bin", "conversations.bin has changed since it was written"),
    ):
        workspace = smoke.copy(tmp_path / Path(file).parts[1])
        data = bytearray((workspace.path / file).read_bytes())
        data[-8] ^= 1
        (workspace.path / file).unlink()
        (workspace.path / file).write_bytes(data)
        assert message in _training_fails(workspace)


def test_a_changed_base_is_made_again_before_it_is_trained_on(
    smoke: Workspace, tmp_path: Path
) -> None:
    """Another bit in its weights makes no other model: dvc sees it, and nothing is lost."""
    workspace = smoke.copy(tmp_path / "checkout")
    file = workspace.path / "models/base/model.safetensors"
    before = file.read_bytes()
    file.unlink()  # it may be linked to the cache
    file.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    assert set(json.loads(workspace.run("dvc", "status", "--json").stdout)) >= {"base", "train"}
    assert "train" not in workspace.repro("train")
    assert file.read_bytes() == before
    assert workspace.outputs("train") == smoke.outputs("train")


def _training_fails(workspace: Workspace) -> str:
    """Trains; returns the one line of the worker that says why it cannot."""
    result = workspace.run("minilingua", "train", check=False)
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    (line,) = [line for line in result.stderr.splitlines() if "error" in line]
    assert line.startswith("train: error: ")
    return line
