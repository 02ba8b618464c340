"""A checkout of its own to run the real line in: the files at hand in a fresh git repository."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
_BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """A checkout and the environment that makes its own code run."""

    path: Path

    def run(
        self, *command: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            command,
            cwd=self.path,
            env={**self.environment(), **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=900,  # pytest-timeout ends a test that hangs before
        )
        if check and result.returncode != 0:
            said = f"{result.stdout}\n{result.stderr}"
            raise AssertionError(f"{' '.join(command)} ended with {result.returncode}\n{said}")
        return result

    def environment(self) -> dict[str, str]:
        """The caller's environment with this checkout's code in front, and MLflow left alone."""
        return {
            **os.environ,
            "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.path / "src"),
            "MINILINGUA_TRACKING": "off",
        }

    def repro(self, *targets: str) -> list[str]:
        """Runs `dvc repro` and returns the stages that ran."""
        output = self.run("dvc", "repro", *targets).stdout
        return [
            line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")
        ]

    def outputs(self, stage: str) -> dict[str, str]:
        """Returns the hash of each output of a stage, as dvc.lock has it."""
        lock: Any = YAML(typ="safe").load((self.path / "dvc.lock").read_text())
        return {out["path"]: out["md5"] for out in lock["stages"][stage]["outs"]}

    def copy(self, path: Path) -> "Workspace":
        """Returns an independent copy, DVC cache and run directories included."""
        shutil.copytree(self.path, path, symlinks=True)
        return Workspace(path=path)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replaces one occurrence in a file."""
        file = self.path / name
        text = file.read_text()
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {name}"
        file.write_text(text.replace(old, new))


def checkout(path: Path, experiment: str = "smoke") -> Workspace:
    """Makes a workspace with the parameters of an experiment and nothing run yet."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, path / name
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    workspace = Workspace(path=path)
    git = ("git", "-c", "user.name=test", "-c", "user.email=test@localhost")
    workspace.run(*git, "init", "--quiet")
    workspace.run("minilingua", "configure", f"experiment={experiment}")
    workspace.run(*git, "add", "--all")
    workspace.run(*git, "commit", "--quiet", "--message", "checkout")
    return workspace
