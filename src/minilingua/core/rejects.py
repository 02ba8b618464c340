"""A small, reproducible sample of dropped rows, for people who want to see what a filter takes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from minilingua.core.files import write_jsonl
from minilingua.core.seeding import hash64

ROWS_PER_REASON = 5
"""Rows of one source that are shown for one reason."""
EXCERPT_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """One dropped row."""

    reason: str
    source: str
    language: str
    row: str
    found: str
    """What was found in it: a phrase, a language, the row that this one repeats .."""
    prompt: str
    """Beginning of the first turn or the question; empty where the row could not be read."""
    answer: str
    """Beginning of the last turn or the right option; as ``prompt``."""


@dataclass(slots=True, kw_only=True)
class RejectSample:
    """Keeps the rows with the lowest hashes of each reason and source: their order is no matter."""

    chosen: dict[tuple[str, str], list[tuple[int, Reject]]] = field(default_factory=dict)
    """(reason, source) ─► (hash, row), the lowest hashes so far, sorted."""

    def offer(self, reason: str, source: str, order: int, make: Callable[[], Reject]) -> None:
        """Takes a dropped row in, if its hash is among the lowest.

        Args:
            reason: why it is dropped.
            source: where it is from.
            order: its ``reject_order``.
            make: returns the row; called only for what is taken in.
        """
        rows = self.chosen.setdefault((reason, source), [])
        if len(rows) < ROWS_PER_REASON or order < rows[-1][0]:
            rows.append((order, make()))
            self._cut(rows)

    def merge(self, other: "RejectSample") -> None:
        """Takes in what another sample holds."""
        for kind, rows in other.chosen.items():
            mine = self.chosen.setdefault(kind, [])
            mine += rows
            self._cut(mine)

    def rows(self) -> list[Reject]:
        """Returns the sample, by reason, source and hash."""
        return [reject for kind in sorted(self.chosen) for _, reject in self.chosen[kind]]

    def write(self, directory: Path) -> None:
        """Writes ``<reason>.jsonl`` for every reason that rows were dropped for."""
        directory.mkdir()
        rows = self.rows()
        for reason in {row.reason for row in rows}:
            chosen = (row for row in rows if row.reason == reason)
            write_jsonl(directory / f"{reason}.jsonl", chosen)

    @staticmethod
    def _cut(rows: list[tuple[int, Reject]]) -> None:
        rows.sort(key=lambda ranked: (ranked[0], ranked[1].row))
        del rows[ROWS_PER_REASON:]


def reject_order(source: str, language: str, row: str) -> int:
    """Returns a number that orders rows whatever file they came from first."""
    return hash64("\x1f".join([source, language, row]))


def excerpt(text: str) -> str:
    """Returns the beginning of a text; half a surrogate pair, which no file takes, is spelled."""
    return text[:EXCERPT_CHARACTERS].encode(errors="backslashreplace").decode()
