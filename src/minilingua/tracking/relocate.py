"""``minilingua relocate``: a store that was moved with its repository finds its artifacts again.

MLflow keeps absolute paths of artifacts in its database. After a move they are those of the place
before; nothing else in the store depends on where it is.
"""

import argparse
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from filelock import FileLock, Timeout

from minilingua.core.errors import MissingInputError, TrackingError
from minilingua.tracking.store import DATABASE, DIRECTORY, LOCK, LOCK_SECONDS, embedded_root

_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


def main(argv: Sequence[str]) -> int:
    """Rewrites the paths; exit code 0 also where there is nothing to do.

    Raises:
        MissingInputError: there is no embedded store here.
        TrackingError: the database cannot be used.
    """
    argparse.ArgumentParser(
        prog="minilingua relocate",
        description=f"Run it after the repository was moved or copied: the paths of artifacts in "
        f"{DATABASE} become those of this place. Run directories and outputs need nothing.",
    ).parse_args(argv)
    if not DATABASE.exists():
        raise MissingInputError(f"{DATABASE} is missing: there is no store to relocate")
    try:
        with FileLock(LOCK, timeout=LOCK_SECONDS):
            old, changed = relocate()
    except Timeout as error:
        raise TrackingError(f"{LOCK} is held by a `minilingua track`") from error
    except sqlite3.Error as error:
        raise TrackingError(f"{DATABASE}: {error}") from error
    here = DIRECTORY.absolute()
    if changed:
        print(f"{changed} paths: {old} is {here} now")  # noqa: T201 - the program's output
    else:
        print(f"nothing to do: the store is of {here}")  # noqa: T201
    return 0


def relocate() -> tuple[Path | None, int]:
    """Returns where the store was made, and how many paths were rewritten."""
    old = embedded_root()
    new = DIRECTORY.absolute()
    if old is None or old == new:
        return old, 0
    changed = 0
    with closing(sqlite3.connect(DATABASE)) as connection, connection:
        for table, column in _COLUMNS:
            for prefix, replacement in ((str(old), str(new)), (old.as_uri(), new.as_uri())):
                found = connection.execute(
                    # Table and column are ours; values are bound.
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (
                        replacement,
                        len(prefix) + 1,
                        prefix,
                        len(prefix) + 1,
                        f"{prefix}/",
                    ),
                )
                changed += found.rowcount
    return old, changed
