"""A small, reproducible sample of dropped rows, for people who want to see what a filter takes."""

from dataclasses import dataclass, field

from minilingua.core.records import InstructionExample
from minilingua.core.seeding import content_id

ROWS_PER_REASON = 10
EXCERPT_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """One dropped row."""

    reason: str
    source: str
    language: str
    row: str
    prompt: str
    """Beginning of the first turn."""
    answer: str
    """Beginning of the last turn."""


@dataclass(slots=True, kw_only=True)
class RejectSample:
    """Keeps the rows with the lowest hashes of each reason, so their order does not matter."""

    chosen: dict[str, list[tuple[str, Reject]]] = field(default_factory=dict)
    """Reason ─► (hash, row), the lowest hashes so far, sorted."""

    def add(self, reason: str, example: InstructionExample) -> None:
        """Offers a dropped row to the sample."""
        order = content_id("\x1f".join([example.source, example.language, example.row]))
        rows = self.chosen.setdefault(reason, [])
        if len(rows) == ROWS_PER_REASON and order >= rows[-1][0]:
            return
        turns = [turn.content[:EXCERPT_CHARACTERS] for turn in example.messages]
        reject = Reject(
            reason=reason,
            source=example.source,
            language=example.language,
            row=example.row,
            prompt=turns[0] if turns else "",
            answer=turns[-1] if turns else "",
        )
        rows.append((order, reject))
        rows.sort(key=lambda ranked: ranked[0])
        del rows[ROWS_PER_REASON:]

    def rows(self) -> list[Reject]:
        """Returns the sample, by reason and hash."""
        return [reject for reason in sorted(self.chosen) for _, reject in self.chosen[reason]]
