"""What reruns after a change: what the change touches, and nothing else."""

import json
from pathlib import Path

import pytest

from minilingua.cli import STAGES
from tests.pipeline.workspace import Workspace

pytestmark = pytest.mark.pipeline


def _changed(workspace: Workspace) -> set[str]:
    """The stages that `dvc status` calls changed by their own inputs."""
    status = json.loads(workspace.run("dvc", "status", "--json").stdout)
    return set(status)


def test_the_first_run_runs_everything_and_the_second_nothing(smoke: Workspace) -> None:
    lock = (smoke.path / "dvc.lock").read_bytes()
    assert all(f"  {stage}:".encode() in lock for stage in STAGES)
    assert smoke.repro() == []
    assert (smoke.path / "dvc.lock").read_bytes() == lock


def test_another_learning_rate_reruns_training_and_what_follows(
    smoke: Workspace, tmp_path: Path
) -> None:
    workspace = smoke.copy(tmp_path / "checkout")
    before = (workspace.path / "models/hf/model.safetensors").read_bytes()
    workspace.edit("params.yaml", "lr: 0.002", "lr: 0.003")
    assert workspace.repro() == ["train", "convert", "evaluate"]
    assert (workspace.path / "models/hf/model.safetensors").read_bytes() != before


def test_another_mixture_packs_again_and_tokenizes_nothing(
    smoke: Workspace, tmp_path: Path
) -> None:
    workspace = smoke.copy(tmp_path / "checkout")
    workspace.run("minilingua", "configure", "experiment=smoke", "mixture=equal")
    assert _changed(workspace) == {"pack"}


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("src/minilingua/packing/fit.py", {"pack"}),
        ("src/minilingua/training/loop.py", {"train"}),
        ("src/minilingua/megatron_model/layer_spec.py", {"train", "convert"}),
        ("src/minilingua/mcqa/templates/fi.yaml", {"mcqa"}),
        ("src/minilingua/core/seeding.py", None),
        ("src/minilingua/params/training.py", set()),
        ("docs/architecture.md", set()),
        ("tests/test_cli.py", set()),
        ("src/minilingua/tracking/track.py", set()),
        ("src/minilingua/launch/local.py", set()),
        ("slurm/clusters/local.yaml", set()),
        ("containers/requirements.txt", {"train"}),
    ],
)
def test_code_reruns_its_stages(
    smoke: Workspace, tmp_path: Path, file: str, stages: set[str] | None
) -> None:
    workspace = smoke.copy(tmp_path / "checkout")
    with (workspace.path / file).open("a") as stream:
        stream.write("\n# a comment\n")
    changed = _changed(workspace)
    if stages is None:  # shared by many: at least the first and the last use it
        assert {"fetch", "pack"} <= changed
    else:
        assert changed == stages


def test_metrics_and_plots_show_the_run(smoke: Workspace) -> None:
    metrics = json.loads(smoke.run("dvc", "metrics", "show", "--json").stdout)
    data = {name: value["data"] for name, value in metrics[""]["data"].items()}
    assert data["reports/train/metrics.json"]["validation_loss"] > 0
    assert 0 <= data["reports/evaluation_summary.json"]["result"]["accuracy_text"] <= 1
    page = smoke.run("dvc", "plots", "show", "--out", str(smoke.path / ".dvc/tmp/plots")).stdout
    html = Path(page.strip().removeprefix("file://")).read_text()
    assert "training_loss.png" in html
    assert "Training and validation loss" in html
    assert html.count("validation_loss") > 2


def test_an_experiment_runs_from_the_command_line(smoke: Workspace, tmp_path: Path) -> None:
    workspace = smoke.copy(tmp_path / "checkout")
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    workspace.run(*git, "commit", "--all", "--quiet", "--message", "lock")
    workspace.run(
        "dvc", "exp", "run", "--set-param", "train.lr=1e-5", "--name", "slow",
        GIT_AUTHOR_NAME="test", GIT_AUTHOR_EMAIL="test@localhost",
        GIT_COMMITTER_NAME="test", GIT_COMMITTER_EMAIL="test@localhost",
    )  # fmt: skip
    shown = json.loads(workspace.run("dvc", "exp", "show", "--json").stdout)
    text = json.dumps(shown)
    assert "slow" in text
    assert "1e-05" in text
