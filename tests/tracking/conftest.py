import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tracking.workspace import Workspace

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """MLflow still uses a loader strategy that SQLAlchemy warns about."""
    ours = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(ours)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, made once: that takes seconds."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def new_workspace(
    tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Workspace]:
    """Makes repository roots, each with an empty store; the last one is the current directory."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    count = itertools.count()

    def make() -> Workspace:
        root = tmp_path / f"repository_{next(count)}"
        (root / "mlruns").mkdir(parents=True)
        shutil.copy(empty_store, root / "mlruns/mlflow.db")
        monkeypatch.chdir(root)
        return Workspace(root=root)

    return make


@pytest.fixture
def workspace(new_workspace: Callable[[], Workspace]) -> Workspace:
    """One repository root, as the current directory."""
    return new_workspace()
