import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from minilingua.core.errors import TrackingError
from minilingua.tracking.store import locked_store, store_uri
from minilingua.tracking.track import main
from tests.tracking.workspace import REPOSITORY, STEPS, Workspace


@pytest.mark.parametrize("uri", ["file:///somewhere/mlruns", "./mlruns", "mlruns"])
def test_a_file_store_is_refused(monkeypatch: pytest.MonkeyPatch, uri: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(TrackingError, match="names a directory"):
        store_uri()


def test_the_environment_names_another_store(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, empty_store: Path
) -> None:
    elsewhere = workspace.root / "elsewhere.db"
    elsewhere.write_bytes(empty_store.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{elsewhere}")
    workspace.train()
    assert main(["--quiet"]) == 0
    assert workspace.dump()["runs"] == []
    with sqlite3.connect(elsewhere) as connection:
        assert connection.execute("SELECT count(*) FROM runs").fetchone() == (2,)  # and attempt
    connection.close()


def test_the_database_is_linked_where_mlflow_looks(workspace: Workspace) -> None:
    workspace.train()
    main(["--quiet"])
    link = workspace.root / "mlflow.db"
    assert link.is_symlink()
    assert link.readlink() == Path("mlruns/mlflow.db")
    assert not list(workspace.root.glob("mlruns/*/meta.yaml"))  # that would be a file store


def test_the_repository_commits_the_link_and_its_target_directory() -> None:
    listing = ["git", "ls-files", "--stage", "mlflow.db", "mlruns"]
    tracked = subprocess.run(listing, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    lines = tracked.stdout.splitlines()
    modes = {line.split("\t")[1]: line.split()[0] for line in lines}
    assert modes == {"mlflow.db": "120000", "mlruns/.gitkeep": "100644"}


@pytest.mark.usefixtures("workspace")
def test_one_writer_at_a_time() -> None:
    with (
        FileLock("mlruns/ingest.lock"),
        pytest.raises(TrackingError, match="held by another `minilingua track`"),
        locked_store(timeout=0.1),
    ):
        pass


def test_a_database_that_is_none_is_one_line(workspace: Workspace) -> None:
    (workspace.root / "mlruns/mlflow.db").write_bytes(b"This is no database. " * 100)
    with pytest.raises(TrackingError, match=r"MLflow at sqlite:.*not a database") as caught:
        main([])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("revision", ["0000deadbeef", "181f10493468"])
def test_a_database_of_another_version_is_one_line(workspace: Workspace, revision: str) -> None:
    """Of a newer MLflow, whose version ours does not know, or of an older one."""
    database = workspace.root / "mlruns/mlflow.db"
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()
    workspace.train()
    before = database.read_bytes()
    with pytest.raises(TrackingError, match=f"MLflow at sqlite:.*{revision}") as caught:
        main([])
    assert "\n" not in str(caught.value)
    assert database.read_bytes() == before


def test_a_locked_database_is_waited_for(workspace: Workspace) -> None:
    """By another program than ours, which does not know of our lock file."""
    workspace.train()
    with locked_store():
        pass
    holder = sqlite3.connect(
        workspace.root / "mlruns/mlflow.db", isolation_level=None, check_same_thread=False
    )
    holder.execute("BEGIN EXCLUSIVE")
    released = threading.Timer(2.0, holder.execute, ["COMMIT"])
    released.start()
    assert main(["--quiet"]) == 0
    released.join()
    holder.close()
    assert len(workspace.metric("train/loss")) == STEPS


def test_a_directory_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mlruns").write_text("a file where the directory should be")
    with pytest.raises(TrackingError, match="mlruns cannot be written"):
        main([])


def test_several_processes_at_once_leave_one_run(workspace: Workspace) -> None:
    workspace.whole_line()
    command = [sys.executable, "-m", "minilingua", "track", "--quiet"]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, b"")
    concurrently = workspace.dump()
    assert main(["--quiet"]) == 0
    assert workspace.dump() == concurrently
    assert len(concurrently["runs"]) == 1
