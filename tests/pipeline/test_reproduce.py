"""A model is built again from its passport, on the real line."""

import gzip
import json
import re
import shutil
from pathlib import Path

import pytest

from tests.pipeline.workspace import Workspace


@pytest.fixture(scope="module")
def released(smoke: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished line with models/release, its dvc.lock not committed. Read only."""
    workspace = smoke.copy(tmp_path_factory.mktemp("released") / "checkout")
    workspace.run("minilingua", "release")
    return workspace


@pytest.mark.timeout(900)  # the line twice, on a machine that may be busy
def test_a_rebuilt_model_is_bit_identical(released: Workspace, tmp_path: Path) -> None:
    target = tmp_path / "rebuilt"
    done = released.run("minilingua", "reproduce", "--directory", str(target))
    assert "bit-identical: every output has the same hash" in done.stdout
    result = json.loads((target / "reproduction.json").read_text())
    assert result["grade"] == "bit-identical"
    assert result["differing_outputs"] == []
    for name in ("model.safetensors", "config.json"):
        assert (target / "models/hf" / name).read_bytes() == (
            released.path / "models/release" / name
        ).read_bytes()
    assert released.run("minilingua", "diff", "models/release", str(target)).returncode == 0


def test_the_first_steps_are_bit_identical(released: Workspace, tmp_path: Path) -> None:
    target = tmp_path / "rebuilt"
    done = released.run("minilingua", "reproduce", "--steps", "3", "--directory", str(target))
    assert "bit-identical: the inputs have the same hashes, and every loss" in done.stdout
    result = json.loads((target / "reproduction.json").read_text())
    assert (result["grade"], result["differing_outputs"]) == ("bit-identical", [])
    assert not (target / "models/hf").exists()


def test_an_edited_row_is_traced_to_its_source(released: Workspace, tmp_path: Path) -> None:
    workspace = released.copy(tmp_path / "checkout")
    path = workspace.path / "data/raw/bactrian_x/data/fi.json.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    row = json.loads(lines[4])
    lines[4] = json.dumps(row | {"output": f"{row['output']} (edited)"})
    path.unlink()  # it may be a link to the cache
    path.write_bytes(gzip.compress("\n".join(lines).encode() + b"\n", mtime=0))
    workspace.run("dvc", "commit", "--force", "fetch")
    told = "source bactrian_x: data/fi.json.gz: 1 row other content (row 5)"

    found = workspace.run("minilingua", "diff", "models/release", check=False)
    assert found.returncode == 1
    assert f"data/raw: {told}" in found.stdout

    # A passport that tells of the edited data: what is fetched again is another.
    passport = workspace.path / "models/release/passport.json"
    about = json.loads(passport.read_text())
    about["pipeline"]["stages"]["fetch"]["outs"] = workspace.outputs("fetch")
    edited = workspace.path / "edited.json"
    edited.write_text(json.dumps(about))
    target = tmp_path / "rebuilt"
    command = ["minilingua", "reproduce", "edited.json", "--directory", str(target)]
    done = workspace.run(*command, check=False)
    assert done.returncode == 1
    assert "fetch      data/raw differs" in done.stdout
    assert "different: the raw data is another (data/raw); nothing was built from it" in done.stdout
    assert f"first difference: data: data/raw: {told}" in done.stdout
    assert not (target / "data/mcqa").exists()

    # Without the cache it cannot be told which row it is, but all else can.
    shutil.rmtree(workspace.path / ".dvc/cache")
    found = workspace.run("minilingua", "diff", "models/release", check=False)
    assert found.returncode == 1
    assert re.search(
        r"data/raw: \w+ and \w+ \(not in the cache: no more can be told\)", found.stdout
    )
    assert found.stderr == ""


def test_uncommitted_changes_are_restored(released: Workspace, tmp_path: Path) -> None:
    workspace = released.copy(tmp_path / "checkout")
    workspace.edit("README.md", "# MiniLingua\n", "# MiniLingua, changed\n")
    (workspace.path / "notes.txt").write_text("git does not have this\n")
    workspace.run("minilingua", "release")
    target = tmp_path / "rebuilt"
    command = ["minilingua", "reproduce", "--until", "fetch", "--directory", str(target)]
    done = workspace.run(*command)
    assert "not restored, since git did not have them: notes.txt" in done.stdout
    assert "bit-identical: every output has the same hash, up to fetch" in done.stdout
    assert (target / "README.md").read_bytes() == (workspace.path / "README.md").read_bytes()
    assert not (target / "notes.txt").exists()

    # Code that a stage has read may not change between the stage and its passport.
    stage = workspace.path / "src/minilingua/packing/stage.py"
    stage.write_text(stage.read_text() + "# changed\n")
    refused = workspace.run("minilingua", "release", check=False)
    assert refused.returncode == 2
    (line,) = refused.stderr.strip().splitlines()
    assert "src/minilingua/packing: changed since a stage read it" in line


def test_a_run_of_mlflow_is_reproduced_by_its_key(released: Workspace, tmp_path: Path) -> None:
    workspace = released.copy(tmp_path / "checkout")
    key = json.loads((workspace.path / "models/release/passport.json").read_text())["run_key"]
    shutil.rmtree(workspace.path / "models/release")
    unknown = workspace.run("minilingua", "reproduce", key, check=False)
    assert unknown.returncode == 2
    assert "there is no MLflow store here" in unknown.stderr
    workspace.run("minilingua", "track")
    done = workspace.run("minilingua", "reproduce", key[:8], "--until", "fetch")
    assert "bit-identical: every output has the same hash, up to fetch" in done.stdout
    assert "pack" not in done.stdout  # what did not run is not told of
    unknown = workspace.run("minilingua", "reproduce", f"{key}0", check=False)
    assert unknown.returncode == 2
    (line,) = unknown.stderr.strip().splitlines()
    assert f"no run in MLflow (did you mean '{key}'?)" in line


def test_make_clean_removes_what_dvc_brings_back(released: Workspace, tmp_path: Path) -> None:
    workspace = released.copy(tmp_path / "checkout")
    kept = sorted(path for path in (workspace.path / "runs").rglob("*") if path.is_file())
    assert kept
    before = workspace.run("git", "status", "--porcelain").stdout
    workspace.run("make", "clean")
    assert not (workspace.path / "models").exists()
    assert all(path.exists() for path in kept)
    assert workspace.run("git", "status", "--porcelain").stdout == before
    workspace.run("dvc", "checkout")
    assert workspace.repro() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"commit": "0" * 40}, "git does not know the commit 000"),
        ({"commit": None}, "the passport names no commit"),
        ({"patch": None}, "uncommitted changes .* that the passport does not hold"),
        ({"patch": "no patch\n"}, "the passport's patch does not apply"),
        ({"patch": None, "patch_sha256": None}, "dvc.lock of .* is not the one that the passport"),
    ],
)
def test_a_state_that_cannot_be_restored_is_one_line(
    released: Workspace, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    about = json.loads((released.path / "models/release/passport.json").read_text())
    about["code"] |= change
    (tmp_path / "passport.json").write_text(json.dumps(about))
    done = released.run("minilingua", "reproduce", str(tmp_path / "passport.json"), check=False)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("minilingua: error: ")
    assert re.search(message, line)
