from collections.abc import Callable
from pathlib import Path

import pytest

from minilingua.core.errors import MissingInputError, ParamsError
from minilingua.training.run_key import identify_run
from tests.training.workspace import Workspace

STOP = {
    "enabled": True,
    "patience": 2,
    "min_delta": 0.0,
    "warmup_steps": 0,
    "standard_errors": 0.0,
    "language_bound": None,
    "language_stop": False,
}
LAYOUT = {
    "tensor": 1,
    "sequence": False,
    "pipeline": 1,
    "context": 1,
    "distributed_optimizer": False,
    "fully_sharded": False,
    "overlap": False,
}


def key(workspace: Workspace) -> str:
    return identify_run(workspace.params).key


def test_same_inputs_have_the_same_key(workspace: Workspace) -> None:
    first = key(workspace)
    assert first == key(workspace)
    assert len(first) == 16
    cache = workspace.root / "models/base/__pycache__"
    cache.mkdir()
    (cache / "x.pyc").write_bytes(b"x")
    assert key(workspace) == first


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda w: w.change(train={"lr": 0.5}), True),
        (lambda w: w.change(train={"early_stopping": {**STOP, "patience": 9}}), True),
        (lambda w: w.change(train={"parallel": {**LAYOUT, "tensor": 2}}), False),
        (lambda w: w.change(model={"name": "other"}), True),
        (lambda w: w.change(seed=1), True),
        (lambda w: w.change(evaluate={"batch_tokens": 7}), False),
        (lambda w: w.change(mixture={"name": "other"}), False),
        (lambda w: append(w.root / "models/base/model.safetensors"), True),
        (lambda w: append(w.root / "data/plan/train/conversations.bin"), True),
        (lambda w: append(w.root / "data/tokens/train/fi/tokens.bin"), True),
        (lambda w: append(w.root / "containers/requirements.txt"), True),
        (lambda w: (w.root / "data/tokens/new").write_bytes(b""), True),
        (lambda w: (w.root / "README.md").write_text("text"), False),
    ],
)
def test_key_changes_with_what_dvc_compares_for_the_stage(
    workspace: Workspace, change: Callable[[Workspace], None], differs: bool
) -> None:
    before = key(workspace)
    change(workspace)
    assert (key(workspace) != before) is differs


def append(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")


def test_a_missing_dependency_is_named(workspace: Workspace) -> None:
    (workspace.root / "models/base").rename(workspace.root / "elsewhere")
    with pytest.raises(MissingInputError, match="models/base is missing"):
        key(workspace)


def test_a_dvc_file_that_cannot_be_read_is_named(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "dvc.yaml"
    for text in ("stages: {}", "a: [", "stages: {train: {params: [nothing]}}"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ParamsError, match=str(file)):
            identify_run(workspace.params, file)
    file.write_text("stages: {train: {params: [train.lr]}}", encoding="utf-8")
    before = identify_run(workspace.params, file).key
    workspace.change(train={"threads": 7})
    assert identify_run(workspace.params, file).key == before
    workspace.change(train={"lr": 0.25})
    assert identify_run(workspace.params, file).key != before
