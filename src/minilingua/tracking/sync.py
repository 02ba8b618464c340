"""Brings the store up to date with everything on disk."""

from dataclasses import dataclass, field, replace

from minilingua.core.files import sha256_file
from minilingua.provenance.lineage import Lineage
from minilingua.provenance.training_record import (
    EVENTS,
    lock_is_held,
    read_published,
    read_run,
    run_directories,
)
from minilingua.tracking.ingest import Ingester
from minilingua.tracking.publish import publish
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
    for directory in run_directories():
        training = read_run(directory)
        run = ingester.ingest(store, training, alive=lock_is_held(directory))
        outcome.runs[run.info.run_name or run.info.run_id] = run.info.status
    if EVENTS.exists():
        training = read_published()
        if not training.telemetry and (known := store.find(EVENTS_TAG, sha256_file(EVENTS))):
            training = replace(training, run_key=known.data.tags[RUN_KEY_TAG])
        found = store.find(RUN_KEY_TAG, training.run_key)
        run = found or ingester.ingest(store, training, alive=False)
        outcome.runs[run.info.run_name or run.info.run_id] = run.info.status
        outcome.skipped += publish(store, run, training, lineage)
    return outcome
