"""Brings the store up to date with everything on disk."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from minilingua.core.files import sha256_file
from minilingua.core.runs import RUNS
from minilingua.provenance.lineage import DVC_LOCK, Lineage
from minilingua.provenance.training_record import (
    EVENTS,
    is_alive,
    read_published,
    read_run,
    read_run_key,
    run_directories,
)
from minilingua.tracking.ingest import Ingester
from minilingua.tracking.publish import RENEW, publish
from minilingua.tracking.store import EVENTS_TAG, RUN_KEY_TAG, Store


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What was found and what was left out."""

    runs: dict[str, str] = field(default_factory=dict)
    """Run name ─► status."""
    skipped: list[str] = field(default_factory=list)
    """What lies here but is not of the published training, in sentences."""


def synchronise(store: Store, lineage: Lineage) -> Outcome:
    """Ingests every run directory, then what belongs to the published training."""
    outcome = Outcome()
    ingester = Ingester()
    for directory in _originals(outcome):
        training = read_run(directory)
        run = ingester.ingest(store, training, alive=is_alive(directory, training))
        outcome.runs[run.info.run_name or run.info.run_id] = run.info.status
    if EVENTS.exists():
        training = read_published()
        if not training.telemetry and not lineage.training_is_recorded():
            outcome.skipped.append(f"{EVENTS} is of no training in {RUNS}/ or {DVC_LOCK}; {RENEW}")
            return outcome
        if not training.telemetry and (known := store.find(EVENTS_TAG, sha256_file(EVENTS))):
            training = replace(training, run_key=known.data.tags[RUN_KEY_TAG])
        found = store.find(RUN_KEY_TAG, training.run_key)
        run = found or ingester.ingest(store, training, alive=False)
        outcome.runs[run.info.run_name or run.info.run_id] = run.info.status
        outcome.skipped += publish(store, run, training, lineage)
    return outcome


def _originals(outcome: Outcome) -> Iterator[Path]:
    """Yields one directory of each run key; notes the copies.

    The original is the one that the key names; without it, the copy that got furthest.
    """
    found: dict[str, list[Path]] = {}
    for directory in run_directories():
        found.setdefault(read_run_key(directory), []).append(directory)
    for key, directories in found.items():
        original = directories[0]
        if len(directories) > 1:
            named = [directory for directory in directories if directory.name == key]
            original = named[0] if named else max(directories, key=_progress)
        others = [directory for directory in directories if directory != original]
        outcome.skipped += [f"{directory} is a copy of {original}" for directory in others]
        yield original


def _progress(directory: Path) -> tuple[int, int, str]:
    training = read_run(directory)
    return training.last_step, len(training.telemetry), directory.name
