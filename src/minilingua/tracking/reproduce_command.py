"""``minilingua reproduce MODEL|RUN``: finds the passport, builds again what it tells of.

a directory or passport.json ─┐
models/release of that key ───┼─► passport, events, evaluation ─► provenance.reproduce
a run in MLflow ──────────────┘
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from minilingua.core.errors import MissingInputError, did_you_mean
from minilingua.core.files import read_json
from minilingua.provenance.reproduce import RELEASE, parser, reproduce
from minilingua.provenance.state import PASSPORT
from minilingua.tracking.named_runs import find_named, names_of, trainings
from minilingua.tracking.store import DATABASE, Store, embedded_store_is_used, locked_store

_FILES = {
    PASSPORT: PASSPORT,
    "training/events.jsonl": "events.jsonl",
    "evaluation/evaluation.json": "evaluation.json",
}
"""Artifact of a run ─► its name beside a passport."""


def main(argv: Sequence[str]) -> int:
    """Rebuilds and grades; exit code 1 if the result is another one.

    Raises:
        MissingInputError: there is no such model or run, or git does not know its commit.
        DataError: the passport does not tell enough, or its patch does not apply.
    """
    arguments = parser().parse_args(argv)
    with _located(arguments.model) as model:
        return reproduce(model, arguments)


@contextmanager
def _located(name: str) -> Iterator[Path]:
    """Yields a directory with the passport of a model or run, or a passport."""
    path = Path(name)
    if path.exists() or path == RELEASE:
        yield path
    elif _is_released(name):
        yield RELEASE
    else:
        with tempfile.TemporaryDirectory() as aside:
            _fetch(name, Path(aside))
            yield Path(aside)


def _is_released(name: str) -> bool:
    passport = RELEASE / PASSPORT
    return passport.exists() and read_json(passport).get("run_key") == name


def _fetch(name: str, directory: Path) -> None:
    """Gets the files of a run in MLflow.

    Raises:
        MissingInputError: there is no such run, or it has no passport.
    """
    if embedded_store_is_used() and not DATABASE.exists():
        raise MissingInputError(
            f"{name}: no directory or passport, and there is no MLflow store here to look for a "
            "run of that name"
        )
    with locked_store() as store:
        runs = trainings(store)
        run = find_named(runs, name)
        if run is None:
            known = sorted({text for one in runs for text in names_of(one)})
            raise MissingInputError(
                f"{name}: no directory or passport, and no run in MLflow{did_you_mean(name, known)}"
            )
        found = set(_artifacts(store, run.info.run_id))
        if PASSPORT not in found:
            raise MissingInputError(
                f"run {name} has no {PASSPORT} in MLflow: it was not evaluated, or what made it "
                "was changed before `minilingua track` saw it"
            )
        for artifact, beside in _FILES.items():
            if artifact in found:
                got = store.client.download_artifacts(run.info.run_id, artifact, str(directory))
                Path(got).replace(directory / beside)


def _artifacts(store: Store, run_id: str) -> Iterator[str]:
    for folder in (None, "training", "evaluation"):
        for file in store.client.list_artifacts(run_id, folder):
            yield file.path
