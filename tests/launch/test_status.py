import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minilingua.cli import main
from minilingua.core.files import write_text
from minilingua.provenance.lineage import dvc_md5
from tests.tracking.workspace import REPOSITORY, RUN_KEY, Workspace

DVC_YAML = """stages:
  second:
    cmd: second
    deps: [code/b.py, data/one]
    params: [train]
    outs:
      - out.json: {cache: false}
  first:
    cmd: first
    deps: [code/a.py]
    params: [seed]
    outs: [data/one]
"""


def lock(root: Path) -> None:
    """Writes dvc.lock as if both stages had just run."""
    from minilingua.params_file import load_params

    params = load_params(REPOSITORY / "params.yaml").model_dump(mode="json")
    stages = {
        "first": (["code/a.py"], ["data/one"], {"seed": params["seed"]}),
        "second": (["code/b.py", "data/one"], ["out.json"], {"train": params["train"]}),
    }
    written = {}
    for name, (deps, outs, values) in stages.items():
        entries = [
            [{"path": path, "md5": dvc_md5(root / path), **size(root / path)} for path in paths]
            for paths in (deps, outs)
        ]
        written[name] = {
            "cmd": name,
            "deps": entries[0],
            "params": {"params.yaml": values},
            "outs": entries[1],
        }
    write_text(root / "dvc.lock", json.dumps({"schema": "2.0", "stages": written}))


def size(path: Path) -> dict[str, int]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    found = {"size": sum(file.stat().st_size for file in files)}
    return found if path.is_file() else found | {"nfiles": len(files)}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPOSITORY / "params.yaml", tmp_path)
    write_text(tmp_path / "dvc.yaml", DVC_YAML)
    for name in ("code/a.py", "code/b.py", "data/one/x", "data/one/y", "out.json"):
        write_text(tmp_path / name, name)
    lock(tmp_path)
    return tmp_path


def stages(capsys: pytest.CaptureFixture[str]) -> dict[str, list[str]]:
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    return {stage["name"]: stage["reasons"] for stage in told["stages"]}


def test_after_a_run_everything_is_fresh(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stages(capsys) == {"first": [], "second": []}
    assert main(["status"]) == 0
    assert "nothing to run" in capsys.readouterr().out
    assert root.exists()


@pytest.mark.parametrize(
    ("change", "first", "second"),
    [
        (lambda: write_text(Path("code/b.py"), "new"), [], ["changed: code/b.py"]),
        (lambda: Path("out.json").unlink(), [], ["out.json is missing"]),
        (
            lambda: write_text(Path("code/a.py"), "new"),
            ["changed: code/a.py"],
            ["after first"],
        ),
        (lambda: write_text(Path("data/one/z"), ""), ["data/one was changed"], ["after first"]),
        (lambda: shutil.rmtree("data/one"), ["data/one is missing"], ["after first"]),
        (
            lambda: Path("params.yaml").write_text(
                Path("params.yaml").read_text().replace("lr: 0.001", "lr: 0.002")
            ),
            [],
            ["parameter train.lr: 0.001 ─► 0.002"],
        ),
        (lambda: Path("dvc.lock").unlink(), ["never ran"], ["never ran"]),
    ],
)
@pytest.mark.usefixtures("root")
def test_what_is_stale_and_why(
    change: object, first: list[str], second: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    change()  # type: ignore[operator]  # a function of no arguments
    assert stages(capsys) == {"first": first, "second": second}


def test_trainings_and_results_are_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Workspace(root=root).whole_line()
    assert main(["status"]) == 0
    said = capsys.readouterr().out
    assert f"{RUN_KEY}  sample, finished, step 12, best validation loss 1.2000 at 8" in said
    assert "base    result" in said


def test_jobs_are_told_whether_or_not_slurm_answers(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a real Slurm: tests/infra/test_slurm.py."""
    jobs = {"train-1": {"job": 4711}, "convert-1": {"job": 12, "is_settled": True}, "pack-1": {}}
    for name, values in jobs.items():
        stage = name.partition("-")[0]
        record = {"stage": stage, "key": "1", "number": 1, "job": None, **values}
        write_text(root / f"runs/jobs/{name}/submission.json", json.dumps(record))
    monkeypatch.setenv("PATH", "")
    assert main(["status"]) == 0
    said = capsys.readouterr().out
    assert "Slurm jobs of this checkout\n  4711  train, unknown (s" in said
    assert "convert" not in said
    done = {"job": 4711, "attempt": 1, "exit_code": 0}
    write_text(root / "runs/jobs/train-1/complete.json", json.dumps(done))
    assert main(["status"]) == 0
    assert "Slurm" not in capsys.readouterr().out


@pytest.mark.usefixtures("root")
def test_it_starts_neither_dvc_nor_torch_nor_mlflow() -> None:
    """What keeps it under a second."""
    program = (
        "import sys; from minilingua.cli import main; code = main(['status']); "
        "slow = {'dvc', 'torch', 'mlflow', 'datasets'} & sys.modules.keys(); "
        "assert not slow, slow; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("name", ["dvc.yaml", "dvc.lock"])
def test_broken_files_are_named(root: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(root / name, "stages: [\n")
    assert main(["status"]) == 2
    assert f"error: {name}: not a" in capsys.readouterr().err


def test_inputs_that_were_made_anew_are_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after `dvc repro first`: everything is as recorded, but second has read another."""
    recorded = json.loads((root / "dvc.lock").read_text())
    recorded["stages"]["second"]["deps"][1]["md5"] = "0.dir"
    write_text(root / "dvc.lock", json.dumps(recorded))
    assert main(["status"]) == 0
    told = capsys.readouterr().out
    assert "second     stale  made anew: data/one" in told
    assert "`dvc repro` runs second\n" in told


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "dvc.lock"])
def test_a_file_that_is_no_text_is_one_line(
    root: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / name).write_bytes(b"\xff\x00\xfe{{{")
    assert main(["status"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"minilingua: error: {name}: not ")
    assert told.count("\n") == 1


@pytest.mark.usefixtures("root")
def test_without_colour_where_none_is_wanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["status"]) == 0
    assert "\033[32mfresh" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["status"]) == 0
    assert "\033" not in capsys.readouterr().out


def test_a_terminal_without_arrows_is_no_traceback(root: Path) -> None:
    (root / "params.yaml").write_text(
        (root / "params.yaml").read_text().replace("seed: 20250430", "seed: 1")
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-m", "minilingua", "status"],
        env=environment,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"parameter seed: 20250430 ?? 1" in done.stdout
