"""Training inside images: the same bytes as bare, and nothing of the machine leaks in."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from minilingua.core.events import read_telemetry
from minilingua.core.files import tree_digest
from minilingua.launch.cluster import Cluster
from minilingua.launch.program import Program, command, prepare_scratch, with_passed
from tests.infra.conftest import TAG, Images
from tests.infra.parts import run_at
from tests.pipeline.workspace import Workspace

pytestmark = [pytest.mark.infra, pytest.mark.timeout(900)]

OUTPUTS = ("models/megatron", "reports/train")


def digests(workspace: Workspace) -> dict[str, str]:
    return {name: tree_digest(workspace.path / name) for name in OUTPUTS}


@pytest.fixture
def poisoned(tmp_path: Path) -> dict[str, str]:
    """An environment in which a host's Python path, user site and home break whoever uses them."""
    home = tmp_path / "home"
    packages = tmp_path / "packages"
    for place in (packages, home / ".local/lib/python3.11/site-packages"):
        for name in ("torch", "megatron", "numpy", "minilingua", "sitecustomize"):
            (place / name).mkdir(parents=True)
            (place / name / "__init__.py").write_text("raise SystemExit('poison of the host')\n")
    (home / ".config/matplotlib").mkdir(parents=True)
    (home / ".config/matplotlib/matplotlibrc").write_text("figure.dpi: 7\n")
    return {"HOME": str(home), "PYTHONPATH": str(packages), "PYTHONUSERBASE": str(home / ".local")}


def test_apptainer_exec_trains_as_bare_does(
    images: Images, smoke: Workspace, tmp_path: Path, poisoned: dict[str, str]
) -> None:
    workspace = images.workspace.copy(tmp_path / "checkout")
    subprocess.run(
        ["apptainer", "exec", "--bind", str(workspace.path), str(images.sif), "train"],
        cwd=workspace.path,
        env={**os.environ, **poisoned},
        check=True,
        timeout=280,
    )
    assert digests(workspace) == digests(smoke)


def test_the_launcher_isolates_apptainer(
    images: Images, smoke: Workspace, tmp_path: Path, poisoned: dict[str, str]
) -> None:
    workspace = images.workspace.copy(tmp_path / "checkout")
    place = {"MINILINGUA_CONTAINER": "apptainer", "MINILINGUA_IMAGE": str(images.sif)}
    secret = {"APPTAINERENV_PYTHONPATH": poisoned["PYTHONPATH"], "HOME": poisoned["HOME"]}
    run_at({**place, **secret, "PYTHONNOUSERSITE": "1"}, workspace, "dvc", "repro", "-s", "train")
    assert workspace.outputs("train") == smoke.outputs("train")


def test_the_launcher_isolates_docker(
    docker_built: Workspace, smoke: Workspace, tmp_path: Path, poisoned: dict[str, str]
) -> None:
    workspace = docker_built.copy(tmp_path / "checkout")
    place = {"MINILINGUA_CONTAINER": "docker", "MINILINGUA_IMAGE": TAG, "HOME": poisoned["HOME"]}
    run_at(place, workspace, "dvc", "repro", "-s", "train")
    assert workspace.outputs("train") == smoke.outputs("train")


@pytest.mark.parametrize("container", ["apptainer", "docker"])
def test_what_is_not_listed_is_not_seen_inside(
    images: Images, tmp_path: Path, poisoned: dict[str, str], container: str
) -> None:
    workspace = images.workspace.copy(tmp_path / "checkout")
    image = TAG if container == "docker" else str(images.sif)
    cluster = Cluster(
        launcher="local",
        container=container,  # type: ignore[arg-type]  # one of its names
        image=image,
        environment=("LISTED",),
        scratch=str(tmp_path / "scratch"),
    )
    prepare_scratch(cluster, workspace.path)
    show = "id -u; env; ls -d $OTHER $HOME/.config; touch /opt/x; touch runs/x && echo can write"
    made = command(Program(name="sh", module="", arguments=("-c", show)), cluster, workspace.path)
    other = tmp_path / "other"
    other.mkdir()
    asked = {**os.environ, **poisoned, "LISTED": "yes", "SECRET": "of the host"}
    asked |= {"APPTAINERENV_SECRET": "of the host", "APPTAINER_BIND": str(other)}
    (workspace.path / "runs").mkdir(exist_ok=True)
    done = subprocess.run(
        [word.replace("$OTHER", str(other)) for word in made.arguments],
        cwd=workspace.path,
        env=with_passed(made, asked),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(f"{os.getuid()}\n")
    assert "LISTED=yes\n" in done.stdout
    assert "can write" in done.stdout
    for leak in ("of the host", "PYTHONPATH=", "PYTHONUSERBASE=", ".config\n", str(other) + "\n"):
        assert leak not in done.stdout
    assert done.stderr.count("No such file or directory") == 2  # neither directory is there
    assert "Read-only file system" in done.stderr


def test_several_ranks_meet_inside_the_image(
    images: Images, smoke: Workspace, tmp_path: Path
) -> None:
    workspace = images.workspace.copy(tmp_path / "checkout")
    place = {"MINILINGUA_CONTAINER": "apptainer", "MINILINGUA_IMAGE": str(images.sif)}
    run_at({**place, "MINILINGUA_RANKS": "2"}, workspace, "dvc", "repro", "-s", "train")
    (file,) = workspace.path.glob("runs/*/telemetry.jsonl")
    starts = [record for record in read_telemetry(file) if record["kind"] == "start"]
    assert [record["world_size"] for record in starts] == [2]
    ours = json.loads((workspace.path / "reports/train/metrics.json").read_text())
    alone = json.loads((smoke.path / "reports/train/metrics.json").read_text())
    assert ours["validation_loss"] == pytest.approx(alone["validation_loss"], abs=1e-4)


def test_a_changed_or_missing_image_is_refused(images: Images, tmp_path: Path) -> None:
    workspace = images.workspace.copy(tmp_path / "checkout")
    other = tmp_path / "minilingua.sif"
    place = {"MINILINGUA_CONTAINER": "apptainer", "MINILINGUA_IMAGE": str(other)}
    done = run_at(place, workspace, "minilingua", "train", check=False)
    assert done.returncode == 2
    assert f"{other} is missing; `minilingua image build sif" in done.stderr
    other.write_bytes(b"another image")
    done = run_at(place, workspace, "minilingua", "train", check=False)
    assert done.returncode == 2
    assert "it was changed or built anew" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list((workspace.path / "runs").glob("*/run.json"))


def test_the_workers_error_and_exit_code_come_through(images: Images, tmp_path: Path) -> None:
    workspace = images.workspace.copy(tmp_path / "checkout")
    (workspace.path / "models/base/config.json").write_text("{}")
    place = {"MINILINGUA_CONTAINER": "apptainer", "MINILINGUA_IMAGE": str(images.sif)}
    done = run_at(place, workspace, "minilingua", "train", check=False)
    assert done.returncode == 2
    assert "train: error: models/base/config.json: is no Llama configuration" in done.stderr


def test_a_command_that_an_image_is_not_for_is_one_line(images: Images) -> None:
    done = subprocess.run(
        ["apptainer", "exec", "--containall", str(images.sif), "minilingua", "track"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "the package 'mlflow' is not installed here" in done.stderr
    assert "Traceback" not in done.stderr
