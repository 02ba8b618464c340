"""What a data stage did: rows in, rows out, and every dropped row under its reason."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minilingua.core.files import read_json, write_json
from minilingua.core.rejects import RejectSample


@dataclass(slots=True, kw_only=True)
class Manifest:
    """Counts of one stage, written as ``manifest.json`` beside its outputs."""

    stage: str
    kept: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(source, language) ─► rows written."""
    dropped: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """(reason, source, language) ─► rows not written."""
    rejects: RejectSample = field(default_factory=RejectSample)
    """Some of them, for people; written apart, by ``RejectSample.write``."""
    details: dict[str, Any] = field(default_factory=dict)
    """Whatever else the stage states about its outputs; JSON types only."""

    def keep(self, source: str, language: str, rows: int = 1) -> None:
        """Counts rows that were written."""
        self.kept[source, language] += rows

    def drop(self, reason: str, source: str, language: str, rows: int = 1) -> None:
        """Counts rows that were not written, under a reason such as ``empty_answer``."""
        self.dropped[reason, source, language] += rows

    def merge(self, other: "Manifest") -> None:
        """Adds another manifest, such as that of a part: counts add up, lists are joined.

        Raises:
            ValueError: both have a detail of the same name that is not a list.
        """
        self.kept.update(other.kept)
        self.dropped.update(other.dropped)
        self.rejects.merge(other.rejects)
        for name, value in other.details.items():
            own = self.details.setdefault(name, [] if isinstance(value, list) else value)
            if isinstance(own, list) and isinstance(value, list):
                own.extend(value)
            elif own != value:
                raise ValueError(f"{name}: {own!r} and {value!r} cannot be merged")

    def reasons(self) -> dict[str, int]:
        """Returns how many rows each reason dropped."""
        totals: Counter[str] = Counter()
        for (reason, _, _), rows in self.dropped.items():
            totals[reason] += rows
        return dict(sorted(totals.items()))

    def write(self, path: Path) -> None:
        """Writes the manifest; the same counts give the same bytes."""
        kept: dict[str, dict[str, int]] = {}
        for (source, language), rows in self.kept.items():
            kept.setdefault(source, {})[language] = rows
        dropped: dict[str, dict[str, dict[str, int]]] = {}
        for (reason, source, language), rows in self.dropped.items():
            dropped.setdefault(reason, {}).setdefault(source, {})[language] = rows
        write_json(
            path,
            {
                "stage": self.stage,
                "rows_kept": self.kept.total(),
                "rows_dropped": self.dropped.total(),
                "kept": kept,
                "dropped": dropped,
                "details": self.details,
            },
        )


def read_manifest(path: Path) -> Manifest:
    """Reads what ``Manifest.write`` wrote.

    Raises:
        MissingInputError: it is missing.
        DataError: it is not JSON.
    """
    raw = read_json(path)
    manifest = Manifest(stage=raw["stage"], details=raw["details"])
    for source, languages in raw["kept"].items():
        for language, rows in languages.items():
            manifest.keep(source, language, rows)
    for reason, sources in raw["dropped"].items():
        for source, languages in sources.items():
            for language, rows in languages.items():
                manifest.drop(reason, source, language, rows)
    return manifest
