"""Runs of the store as a person names them: by key or its beginning, by name, by id."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from minilingua.core.errors import MissingInputError
from minilingua.tracking.store import PARENT_TAG, RUN_KEY_TAG, Store

if TYPE_CHECKING:
    from mlflow.entities import Run

_MOST = 1000
"""Runs that one request returns."""


def trainings(store: Store) -> "list[Run]":
    """Returns the runs of trainings; attempts, which are runs in the store, too, are left out."""
    found: list[Run] = []
    token = None
    while True:
        page = store.client.search_runs([store.experiment_id], max_results=_MOST, page_token=token)
        found += [run for run in page if PARENT_TAG not in run.data.tags]
        token = page.token
        if not token:
            return found


def names_of(run: "Run") -> set[str]:
    """Returns what a run is called."""
    names = (run.info.run_id, run.info.run_name, run.data.tags.get(RUN_KEY_TAG))
    return {name for name in names if name}


def find_named(runs: "Iterable[Run]", name: str) -> "Run | None":
    """Returns the run of a name, or of the beginning of a key; None where there is none.

    Raises:
        MissingInputError: there are several.
    """
    runs = list(runs)
    found = [run for run in runs if name in names_of(run)] or [
        run for run in runs if (run.data.tags.get(RUN_KEY_TAG) or "").startswith(name)
    ]
    if len(found) > 1:
        keys = ", ".join(sorted(run.data.tags[RUN_KEY_TAG] for run in found))
        raise MissingInputError(f"{name!r} is the beginning of several runs: {keys}")
    return found[0] if found else None
