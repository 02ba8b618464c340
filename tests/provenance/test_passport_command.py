import json
from pathlib import Path

import pytest

from minilingua.cli import main
from minilingua.tracking.release import build_release
from tests.tracking.workspace import RUN_KEY, Workspace

RELEASE = Path("models/release")


@pytest.fixture(autouse=True)
def _released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Workspace(root=tmp_path).whole_line()
    build_release()


def test_a_passport_is_told_and_its_files_are_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["passport"]) == 0
    said = capsys.readouterr().out
    assert f"run key         {RUN_KEY}" in said
    assert "files: 3 with the hashes of the passport" in said
    assert main(["passport", str(RELEASE), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run_key"] == RUN_KEY


def test_a_file_that_is_another_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    (RELEASE / "config.json").unlink()
    (RELEASE / "config.json").write_text("{}")
    (RELEASE / "tokenizer.json").unlink()
    assert main(["passport"]) == 1
    said = capsys.readouterr().out
    assert "file config.json is not the one that was released" in said
    assert "file tokenizer.json is missing" in said


def test_what_is_no_passport_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passport", "models/hf"]) == 2
    assert "`minilingua release` makes it" in capsys.readouterr().err
    (RELEASE / "passport.json").write_text("{}")
    assert main(["passport"]) == 2
    assert "passport.json: not a passport" in capsys.readouterr().err
