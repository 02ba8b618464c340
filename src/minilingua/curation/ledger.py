"""What becomes of the rows, as counts and as a sample; those of several processes add up."""

from collections import Counter
from dataclasses import dataclass, field

from minilingua.core.manifest import Manifest
from minilingua.core.records import Contamination, Split


@dataclass(slots=True, kw_only=True)
class Ledger:
    """Counts of some rows. Every row that is read is written, or dropped under one reason."""

    manifest: Manifest = field(default_factory=lambda: Manifest(stage="curate"))
    written: Counter[tuple[Split, str, str]] = field(default_factory=Counter)
    """(split, language, task) ─► rows."""
    read: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(source, language) ─► rows."""
    items_found: dict[str, set[str]] = field(default_factory=dict)
    """Set of evaluation items ─► those found in training rows, dropped ones included."""
    items_trained_on: dict[str, set[str]] = field(default_factory=dict)
    """Set of evaluation items ─► those found in rows that are trained on."""

    def count(self, found: Contamination) -> None:
        """Counts an evaluation item that was found in a training row."""
        self.items_found.setdefault(found.set, set()).add(found.item)
        if not found.is_dropped:
            self.items_trained_on.setdefault(found.set, set()).add(found.item)

    def merge(self, other: "Ledger") -> None:
        """Adds another ledger up; ledgers are merged in the order of their tasks."""
        self.manifest.merge(other.manifest)
        self.written.update(other.written)
        self.read.update(other.read)
        for mine, others in (
            (self.items_found, other.items_found),
            (self.items_trained_on, other.items_trained_on),
        ):
            for name, items in others.items():
                mine.setdefault(name, set()).update(items)
