"""data/plan/ledger.csv: what each language was meant to get of the run, and what it gets."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minilingua.packing.corpus import Ints, LanguageCorpus

_COLUMNS = (
    "language",
    "planned_share",
    "realised_conversations",
    "realised_tokens",
    "realised_supervised_tokens",
    "epochs",
    "scheduled",
    "conversations",
    "dropped_too_long",
    "dropped_last_step",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One language of the training split."""

    language: str
    planned_share: float
    """Share of the run that the mixture asks for, in its unit."""
    realised: tuple[float, float, float]
    """Shares of the scheduled conversations, tokens and supervised tokens."""
    epochs: float
    """Scheduled conversations over conversations that fit into a pack."""
    scheduled: int
    """Conversations in the plan, repetitions counted."""
    conversations: int
    """Conversations in the split that fit into a pack."""
    dropped_too_long: int
    dropped_last_step: int
    """Scheduled conversations of a last step that was less than half full."""


def ledger_rows(
    corpus: Sequence[LanguageCorpus],
    planned: Mapping[str, float],
    scheduled: Mapping[str, Ints],
    left_out: Mapping[str, int],
) -> list[LedgerRow]:
    """Returns a row for each language.

    Args:
        corpus: the training split.
        planned: language ─► planned share.
        scheduled: language ─► indices into its corpus, one for each time it is seen.
        left_out: language ─► conversations of a last step that was left out.
    """
    amounts = np.array(
        [
            (
                len(scheduled[part.language]),
                part.lengths[scheduled[part.language]].sum(),
                part.supervised[scheduled[part.language]].sum(),
            )
            for part in corpus
        ],
        dtype=np.float64,
    )
    shares = amounts / np.maximum(amounts.sum(axis=0), 1)
    return [
        LedgerRow(
            language=part.language,
            planned_share=planned[part.language],
            realised=(float(share[0]), float(share[1]), float(share[2])),
            epochs=len(scheduled[part.language]) / max(len(part), 1),
            scheduled=len(scheduled[part.language]),
            conversations=len(part),
            dropped_too_long=part.dropped_too_long,
            dropped_last_step=left_out[part.language],
        )
        for part, share in zip(corpus, shares, strict=True)
    ]


def ledger_csv(rows: Sequence[LedgerRow]) -> str:
    """Returns the ledger as CSV; shares and epochs with six decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        writer.writerow(
            (
                row.language,
                *(f"{share:.6f}" for share in (row.planned_share, *row.realised)),
                f"{row.epochs:.6f}",
                row.scheduled,
                row.conversations,
                row.dropped_too_long,
                row.dropped_last_step,
            )
        )
    return text.getvalue()
