import json
import subprocess
from pathlib import Path

import pytest

from minilingua.cli import main
from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import write_text
from minilingua.provenance.state import read_state, stages_of_lock
from minilingua.tracking.release import build_release
from tests.tracking.workspace import RUN_KEY, Workspace

LOCK = """schema: '2.0'
stages:
  train:
    cmd: minilingua train
    deps: [{path: data/plan, md5: 2.dir}]
    outs: [{path: models/megatron, md5: 3.dir}]
  pack:
    cmd: minilingua pack
    deps: [{path: src/pack.py, md5: a}]
    outs: [{path: data/plan, md5: 2.dir}]
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(root=tmp_path)
    workspace.whole_line()
    write_text(tmp_path / "dvc.yaml", "stages: {}\n")
    git = ["git", "-c", "user.name=A", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "A"]):
        subprocess.run([*git, *arguments], check=True)
    build_release()  # without a dvc.lock there is nothing to check
    write_text(tmp_path / "dvc.lock", LOCK)
    for arguments in (["add", "dvc.lock"], ["commit", "-qm", "Locked"], ["tag", "v1"]):
        subprocess.run([*git, *arguments], check=True)
    return workspace


def test_every_kind_of_state_is_read(root: Workspace) -> None:
    here, commit, tag = read_state("."), read_state("HEAD"), read_state("v1")
    assert list(here.stages) == ["pack", "train"]
    assert here.commit == commit.commit == tag.commit
    assert here.params == commit.params
    assert here.events
    assert here.environment["packages"]["torch"]
    assert commit.environment == {}
    released = read_state("models/release")
    assert read_state("models/release/passport.json").events == released.events == here.events
    assert released.evaluation == here.evaluation
    run = read_state(RUN_KEY[:8])
    assert run.params == here.params
    assert run.events == here.events
    assert root.run_directory().exists()


@pytest.mark.usefixtures("root")
def test_a_name_of_nothing_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "nothing", "."]) == 2
    assert f"(run keys: {RUN_KEY})" in capsys.readouterr().err
    with pytest.raises(MissingInputError, match=r"HEAD~1: commit \w+ has no dvc\.lock"):
        read_state("HEAD~1")
    Path("p.json").write_text("{}")
    with pytest.raises(DataError, match=r"p\.json: not a passport"):
        read_state("p.json")


def test_options_of_git_are_no_commits(root: Workspace) -> None:
    with pytest.raises(MissingInputError, match="--help: no model"):
        read_state("--help")
    assert root.root.exists()


@pytest.mark.usefixtures("root")
def test_diff_tells_and_exits_as_diff_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "HEAD", "."]) == 0
    assert capsys.readouterr().out == "HEAD and .: no difference in stages, parameters\n"
    text = Path("params.yaml").read_text().replace("seed: 20250430", "seed: 1")
    Path("params.yaml").write_text(text)
    assert main(["diff", "HEAD"]) == 1
    assert capsys.readouterr().out == "Parameters\n  seed: 20250430 and 1\n"
    assert main(["diff", "HEAD", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert found == {"kind": "parameters", "what": "seed", "detail": "20250430 and 1"}


def test_a_broken_lock_is_named() -> None:
    with pytest.raises(DataError, match=r"x: not a lock file"):
        stages_of_lock("stages: [1", "x")
