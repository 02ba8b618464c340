"""``minilingua track --rebuild``: the store from nothing, out of runs/ and reports/.

mlruns/{mlflow.db, <experiment>/} ─► mlruns/before-rebuild/ ─► ingest everything ─► new store
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from minilingua.core.errors import TrackingError
from minilingua.tracking.store import DATABASE, DIRECTORY, LOCK, LOCK_SECONDS, URI_VARIABLE

BEFORE = DIRECTORY / "before-rebuild"


@contextmanager
def empty_store() -> Iterator[None]:
    """Puts the embedded store aside for the block, which writes a new one; an error brings it back.

    What was there before stays in ``BEFORE``: it may hold models of earlier trainings, whose files
    are no longer anywhere else.

    Raises:
        TrackingError: the store is a server's, or in use.
    """
    if os.environ.get(URI_VARIABLE):
        raise TrackingError(
            f"--rebuild is for the store in {DIRECTORY}/, but {URI_VARIABLE} names another one; "
            "delete its experiment, and `minilingua track` fills it again"
        )
    DIRECTORY.mkdir(exist_ok=True)
    try:
        with FileLock(LOCK, timeout=LOCK_SECONDS):
            _move(DIRECTORY, BEFORE)
    except Timeout as error:
        raise TrackingError(f"{LOCK} is held by another `minilingua track`") from error
    try:
        yield
    except BaseException:
        for path in _parts(DIRECTORY):
            _delete(path)
        for path in _parts(BEFORE):
            path.replace(DIRECTORY / path.name)
        BEFORE.rmdir()
        raise


def _move(directory: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    target.mkdir()
    for path in _parts(directory):
        path.replace(target / path.name)


def _parts(directory: Path) -> list[Path]:
    """Returns the database with its journals, and the artifacts of the experiments."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.name.startswith(DATABASE.name) or path.name.isdecimal() or path.name == "models"
    )


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
