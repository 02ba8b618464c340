"""The command line: quick, helpful, and never a traceback for a user's mistake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minilingua.cli import COMMANDS, main

ROOT = Path(__file__).parents[1]


def _minilingua(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "minilingua", *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_every_command_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from minilingua.cli import main; main(['--help']);"
        "heavy = ('torch', 'megatron', 'mlflow', 'docker', 'spython', 'numpy', 'pydantic');"
        "print([module for module in heavy if module in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert all(f"  {name}" in result.stdout for name in COMMANDS)
    assert result.stdout.strip().endswith("[]")


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    result = _minilingua(name, "--help", cwd=ROOT)
    assert result.returncode == 0, result.stderr
    assert f"minilingua {name}" in result.stdout


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evalute"]) == 2
    assert "did you mean 'evaluate'?" in capsys.readouterr().err


def test_bad_params_are_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("trian: {}\n")
    result = _minilingua("pack", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "unknown key 'trian' (did you mean 'train'?)" in result.stderr
    assert "dvc checkout" not in result.stderr


def test_under_dvc_the_message_says_how_to_restore(tmp_path: Path) -> None:
    result = _minilingua("pack", cwd=tmp_path, DVC_STAGE="pack")
    assert result.returncode == 2
    assert "`dvc checkout` restores them" in result.stderr
