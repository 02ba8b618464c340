"""What becomes of the rows, as counts and as a sample; those of several processes add up."""

from collections import Counter
from dataclasses import dataclass, field

from minilingua.core.manifest import Manifest
from minilingua.core.records import Split
from minilingua.curation.rejects import RejectSample
from minilingua.sources.read import explain_rejects


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Counts of some rows. Every row that is read is written, or dropped under one reason."""

    manifest: Manifest = field(default_factory=lambda: Manifest(stage="curate"))
    rejects: RejectSample = field(default_factory=RejectSample)
    written: Counter[tuple[Split, str, str]] = field(default_factory=Counter)
    """(split, language, task) ─► rows."""
    read: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(source, language) ─► rows."""

    def merge(self, other: "Ledger") -> None:
        """Adds another ledger up; ledgers are merged in the order of their tasks."""
        self.manifest.kept.update(other.manifest.kept)
        self.manifest.dropped.update(other.manifest.dropped)
        explain_rejects(self.manifest, other.manifest.details.get("rejected_examples", []))
        self.rejects.merge(other.rejects)
        self.written.update(other.written)
        self.read.update(other.read)
