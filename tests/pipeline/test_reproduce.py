"""A model is built again from its passport, on the real line."""

import gzip
import json
import re
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
    done = workspace.run("minilingua", "reproduce", "edited.json", "--until", "fetch", check=False)
    assert done.returncode == 1
    assert "fetch      data/raw differs" in done.stdout
    assert "different: " in done.stdout
    assert f"first difference: data: data/raw: {told}" in done.stdout


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
