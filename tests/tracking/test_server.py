"""The real ``mlflow ui``, as a user starts it in the repository root."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from minilingua.tracking.track import main
from tests.tracking.workspace import RUN_KEY, Workspace


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def mlflow_ui(
    root: Path,
    port: int | None = None,
    ends_by: signal.Signals = signal.SIGTERM,
    program: tuple[str, ...] = ("ui",),
) -> Iterator[str]:
    """Yields the address of `mlflow ui`, started without a word about the store."""
    port = port or free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    with (root / "ui.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *program, "--port", str(port), "--workers", "1"],
            cwd=root,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,  # its workers are in our process group, and end with it
        )
    address = f"http://127.0.0.1:{port}"
    try:
        _await(f"{address}/health", server, root / "ui.log")
        yield address
    finally:
        os.killpg(server.pid, ends_by)
        server.wait(30)


def _await(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1000):
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - loopback
                return
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.2)
    raise AssertionError(log.read_text())


def call(address: str, path: str, body: dict[str, Any] | None = None) -> Any:
    request = urllib.request.Request(  # noqa: S310 - loopback
        f"{address}/api/2.0/mlflow/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def test_the_ui_starts_in_a_fresh_clone_and_then_shows_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    Path("mlruns").mkdir()
    Path("mlflow.db").symlink_to("mlruns/mlflow.db")
    workspace = Workspace(root=tmp_path)
    workspace.whole_line()
    with mlflow_ui(tmp_path) as address:
        assert call(address, "experiments/search", {"max_results": 5})["experiments"]
        assert (tmp_path / "mlruns/mlflow.db").is_file()

        assert main(["--quiet"]) == 0  # while somebody looks
        run_id = _check_run(address)
        _check_artifacts(address, run_id)

        # The same server as the store: it has the run already, so nothing is added.
        before = workspace.dump()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert main(["--quiet"]) == 0
        assert workspace.dump() == before


def test_a_server_elsewhere_gets_all_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shares no directory with us: artifacts go, and are replaced, through it."""
    elsewhere, here = tmp_path / "server", tmp_path / "checkout"
    for root in (elsewhere, here):
        root.mkdir()
    monkeypatch.chdir(here)
    workspace = Workspace(root=here)
    workspace.whole_line()
    with mlflow_ui(elsewhere, program=("server",)) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert main(["--quiet"]) == 0
        run_id = _check_run(address)
        _check_artifacts(address, run_id)
        assert (_names(address, run_id, "model")) == {
            "config.json", "model.safetensors", "tokenizer.json",
        }  # fmt: skip
        params = here / "params.yaml"
        params.write_text(params.read_text().replace("  model: copy", "  model: reference"))
        assert main(["--quiet"]) == 0
        assert _names(address, run_id, "model") == {
            "config.json", "reference.json", "tokenizer.json",
        }  # fmt: skip
        for alias in ("candidate", "best"):
            asked = f"registered-models/alias?name=minilingua-sample&alias={alias}"
            assert call(address, asked)["model_version"]["version"] == "2"
    assert not (here / "mlruns/mlflow.db").exists()


def _names(address: str, run_id: str, folder: str) -> set[str]:
    files = call(address, f"artifacts/list?run_id={run_id}&path={folder}")["files"]
    return {file["path"].removeprefix(f"{folder}/") for file in files}


def _check_run(address: str) -> str:
    name = "experiments/get-by-name?experiment_name=minilingua"
    experiment = call(address, name)["experiment"]["experiment_id"]
    runs = call(address, "runs/search", {"experiment_ids": [experiment]})["runs"]
    run = next(run for run in runs if run["info"]["run_name"].startswith("sample-"))
    assert run["info"]["status"] == "FINISHED"
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert tags["minilingua.run_key"] == RUN_KEY
    run_id = str(run["info"]["run_id"])
    query = f"metrics/get-history?run_id={run_id}&metric_key=validation_loss/fi"
    assert [point["step"] for point in call(address, query)["metrics"]] == [0, 4, 8, 12]
    return run_id


def _check_artifacts(address: str, run_id: str) -> None:
    files = call(address, f"artifacts/list?run_id={run_id}&path=training")["files"]
    assert "training/training_loss.png" in {file["path"] for file in files}
    table = f"{address}/get-artifact?run_uuid={run_id}&path=training/loss.csv"
    with urllib.request.urlopen(table, timeout=30) as answer:  # noqa: S310 - loopback
        assert answer.read().startswith(b"step,loss")
    alias = "registered-models/alias?name=minilingua-sample&alias=candidate"
    assert call(address, alias)["model_version"]["run_id"] == run_id
