import errno
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any
from unittest import mock

import pytest
import torch

from minilingua.core.errors import CheckpointError
from minilingua.megatron_model.megatron import quiet
from minilingua.training import saving
from minilingua.training.checkpoint import (
    Progress,
    complete_checkpoints,
    latest_checkpoint,
    load_checkpoint,
    prune_checkpoints,
)
from minilingua.training.early_stopping import Evaluated
from minilingua.training.engine import Engine
from minilingua.training.optimizer_state import read_state
from minilingua.training.saving import Saver, save_checkpoint
from tests.training.engines import engine_of
from tests.training.workspace import Workspace

KEY = "k" * 16
PROGRESS = Progress(step=3, history=(Evaluated(step=0, loss=0.1 + 0.2),))
OPTIONS: dict[str, Any] = {"hidden_dropout": 0.1, "learning_rate_schedule": "cosine"}


@pytest.fixture(autouse=True)
def _quietly() -> Iterable[None]:
    with quiet():
        yield


@pytest.fixture
def saved(workspace: Workspace, tmp_path: Path) -> Path:
    """Directory with one complete state."""
    engine = engine_of(workspace, **OPTIONS)
    for step in (1, 2, 3):
        engine.train_step(step)
    save_checkpoint(engine, PROGRESS, tmp_path / "states", KEY)
    return tmp_path / "states"


def states_equal(a: Engine, b: Engine) -> bool:
    pairs = zip(a.model.parameters(), b.model.parameters(), strict=True)
    return all(
        torch.equal(p, q)
        and all(
            torch.equal(a.optimizer.optimizer.state[p][name], b.optimizer.optimizer.state[q][name])
            for name in ("exp_avg", "exp_avg_sq", "step")
        )
        for p, q in pairs
    )


def test_training_goes_on_bit_for_bit(workspace: Workspace, saved: Path) -> None:
    through = engine_of(workspace, **OPTIONS)
    expected = [through.train_step(step) for step in range(1, 7)]
    resumed = engine_of(workspace, **OPTIONS)
    path = latest_checkpoint(saved, KEY)
    assert path is not None
    assert load_checkpoint(resumed, path) == PROGRESS
    assert [resumed.train_step(step) for step in (4, 5, 6)] == expected[3:]
    assert states_equal(through, resumed)


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_every_precision_resumes(workspace: Workspace, tmp_path: Path, precision: str) -> None:
    engine = engine_of(workspace, precision=precision)
    for step in (1, 2):
        engine.train_step(step)
    save_checkpoint(engine, PROGRESS, tmp_path, KEY)
    resumed = engine_of(workspace, precision=precision)
    load_checkpoint(resumed, tmp_path / "step_00000003")
    assert resumed.train_step(3) == engine.train_step(3)


def test_saving_the_same_state_again_does_nothing(workspace: Workspace, saved: Path) -> None:
    file = saved / "step_00000003/common.pt"
    before = file.stat().st_mtime_ns
    size = save_checkpoint(engine_of(workspace), PROGRESS, saved, KEY)
    assert file.stat().st_mtime_ns == before
    assert size == sum(file.stat().st_size for file in (saved / "step_00000003").iterdir())


def test_a_state_without_its_marker_does_not_count(workspace: Workspace, saved: Path) -> None:
    shutil.copytree(saved / "step_00000003", saved / "step_00000009")
    (saved / "step_00000009/complete.json").unlink()
    assert complete_checkpoints(saved) == [3]
    assert latest_checkpoint(saved, KEY) == saved / "step_00000003"
    later = replace(PROGRESS, step=9)  # an interrupted save is replaced when its step comes again
    save_checkpoint(engine_of(workspace), later, saved, KEY)
    assert latest_checkpoint(saved, KEY) == saved / "step_00000009"


def test_without_states_there_is_none(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path / "nothing", KEY) is None
    assert latest_checkpoint(tmp_path, KEY) is None


def test_truncated_changed_and_missing_files_are_told(saved: Path) -> None:
    path = saved / "step_00000003"
    file = next(path.glob("*.distcp"))
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match=r"distcp has \d+ bytes .* truncated; delete"):
        latest_checkpoint(saved, KEY)
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="has changed since it was saved"):
        latest_checkpoint(saved, KEY)
    file.unlink()
    with pytest.raises(CheckpointError, match="distcp is missing; delete"):
        latest_checkpoint(saved, KEY)
    (path / "complete.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"complete\.json: cannot be read"):
        latest_checkpoint(saved, KEY)


def test_a_state_of_another_run_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match=f"belongs to run {KEY}, this is run other"):
        latest_checkpoint(saved, "other")


def test_a_state_of_another_shape_is_refused(workspace: Workspace, saved: Path) -> None:
    engine = engine_of(workspace)
    workspace.change(model={"ffn_hidden_size": 64})
    from tests.training.workspace import write_base

    shutil.rmtree(workspace.root / "models/base")
    write_base(workspace.root / "models/base", workspace.params.model, 64)
    del engine
    with pytest.raises(CheckpointError, match="step_00000003: does not fit this model"):
        load_checkpoint(engine_of(workspace), saved / "step_00000003")


def test_retention_keeps_the_newest_and_drops_interrupted_saves(saved: Path) -> None:
    for step in (5, 7, 9):
        path = saved / f"step_{step:08d}"
        path.mkdir()
        if step != 7:
            (path / "complete.json").write_text("{}", encoding="utf-8")
    prune_checkpoints(saved, keep=2)
    assert sorted(path.name for path in saved.iterdir()) == ["step_00000005", "step_00000009"]


def test_an_unwritable_directory_is_told(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(CheckpointError, match="cannot be written: "):
        save_checkpoint(engine_of(workspace), PROGRESS, tmp_path / "file", KEY)


def test_training_goes_on_while_a_state_is_written(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written is the state as it was when it was begun."""
    through = engine_of(workspace)
    expected = [through.train_step(step) for step in range(1, 5)]
    engine = engine_of(workspace)
    first = engine.train_step(1)
    may_write = Event()
    mark = saving._mark

    def mark_later(*arguments: Any) -> None:
        assert may_write.wait(60)
        mark(*arguments)

    monkeypatch.setattr(saving, "_mark", mark_later)
    saver = Saver(directory=tmp_path, run_key=KEY)
    saver.begin(engine, replace(PROGRESS, step=1))
    rest = [engine.train_step(step) for step in (2, 3, 4)]
    assert saver.in_flight
    assert saver.poll() is None
    assert complete_checkpoints(tmp_path) == []
    may_write.set()
    saved = saver.wait()
    assert saved is not None
    assert saved.step == 1
    assert saved.blocked_s < saved.seconds
    assert complete_checkpoints(tmp_path) == [1]
    assert [first, *rest] == expected
    resumed = engine_of(workspace)
    load_checkpoint(resumed, tmp_path / "step_00000001")
    assert [resumed.train_step(step) for step in (2, 3, 4)] == expected[1:]


def test_a_save_that_fails_is_told_to_who_asks_and_the_next_one_may_succeed(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(workspace)
    saver = Saver(directory=tmp_path, run_key=KEY)
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        patch.setattr(saving, "sha256_file", mock.Mock(side_effect=full))
        saver.begin(engine, PROGRESS)
        with pytest.raises(CheckpointError, match="cannot be written: No space left"):
            saver.wait()
    assert complete_checkpoints(tmp_path) == []
    saver.begin(engine, PROGRESS)
    assert saver.wait() is not None
    assert complete_checkpoints(tmp_path) == [3]


def test_ranks_that_write_nothing_copy_nothing(workspace: Workspace) -> None:
    engine = engine_of(workspace)
    engine.train_step(1)
    written, described = (read_state(engine.optimizer, writes=writes) for writes in (True, False))
    for parameter, values in written.items():
        for name, value in values.items():
            assert value.device.type == "cpu"
            assert described[parameter][name].device.type == "meta"
            assert described[parameter][name].shape == value.shape == parameter.shape


def test_marker_names_every_file(saved: Path) -> None:
    path = saved / "step_00000003"
    marker = json.loads((path / "complete.json").read_text(encoding="utf-8"))
    assert marker["run_key"] == KEY
    assert marker["step"] == 3
    assert set(marker["files"]) == {f.name for f in path.iterdir()} - {"complete.json"}


def test_a_training_that_fails_waits_for_the_save_that_it_began(
    workspace: Workspace, tmp_path: Path
) -> None:
    saver = Saver(directory=tmp_path, run_key=KEY)
    saver.begin(engine_of(workspace), PROGRESS)
    saver.abandon()
    assert complete_checkpoints(tmp_path) == [3]
    saver.abandon()
    assert saver.wait() is None
