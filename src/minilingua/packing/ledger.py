"""The ledger of the training split: what each language and source was meant to get of the run.

    reports/mixture.csv           a row for each language
    reports/mixture_sources.csv   a row for each source of each language

It is there before anything is trained.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minilingua.packing.corpus import LanguageCorpus
from minilingua.packing.parts import Part
from minilingua.packing.tally import UNITS, Tally
from minilingua.params import MixtureParams

_SHARES = ("planned_share", "realised_share", "epochs")
_COUNTS = (
    "conversations",
    "tokens",
    "supervised_tokens",
    "available",
    "dropped_too_long",
    "dropped_last_step",
    "truncated",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """A language of the training split, or one source of it."""

    language: str
    source: str | None
    """None: all of them."""
    planned_share: float
    """Share of the run that the weights ask for, in the unit of the mixture."""
    realised_share: float
    """Share of what is scheduled, in the same unit; ``mixture.max_epochs`` may have changed it."""
    epochs: float
    """Scheduled conversations over available ones."""
    conversations: int
    """In the schedule, repetitions counted, as the next two."""
    tokens: int
    supervised_tokens: int
    available: int
    """Conversations in the split that fit into a pack."""
    dropped_too_long: int
    """Conversations of the split that do not."""
    dropped_last_step: int
    """Scheduled conversations of a last step that was less than half full."""
    truncated: int
    """Conversations of the split of which user turns were cut."""
    tokens_per_word: float | None
    """Fertility of the tokenizer on the split, without template; None without words."""


def ledger_rows(
    corpus: Sequence[LanguageCorpus],
    parts: Sequence[Part],
    mixture: MixtureParams,
    tally: Tally,
    *,
    by_source: bool,
) -> list[LedgerRow]:
    """Returns a row for each language, or for each source of each language.

    Args:
        corpus: the training split.
        parts: its parts.
        mixture: what they were made by.
        tally: what of it is scheduled.
        by_source: a row for each source.
    """
    return [
        _row(language, number, source, parts, mixture, tally)
        for number, language in enumerate(corpus)
        for source in (sorted(language.source_names) if by_source else [None])
    ]


def _row(
    language: LanguageCorpus,
    number: int,
    source: str | None,
    parts: Sequence[Part],
    mixture: MixtureParams,
    tally: Tally,
) -> LedgerRow:
    chosen = np.ones(len(language), dtype=np.bool_)
    counts = list(language.counts.values())
    too_long = language.dropped_too_long
    sources = slice(None)
    if source is not None:
        place = language.source_names.index(source)
        chosen = language.sources == place
        counts = [language.counts[source]]
        too_long = language.too_long.get(source, 0)
        sources = slice(place, place + 1)
    scheduled = tally.scheduled[number, sources].sum(axis=0)
    unit = UNITS.index(mixture.unit)
    available = int(chosen.sum())
    words = sum(count.words for count in counts)
    return LedgerRow(
        language=language.language,
        source=source,
        planned_share=math.fsum(
            part.share * float(part.amounts[chosen[part.members]].sum() / part.amounts.sum())
            for part in parts
            if part.language == language.language and part.amounts.sum() > 0
        ),
        realised_share=float(scheduled[unit]) / max(int(tally.scheduled[..., unit].sum()), 1),
        epochs=int(scheduled[0]) / max(available, 1),
        conversations=int(scheduled[0]),
        tokens=int(scheduled[1]),
        supervised_tokens=int(scheduled[2]),
        available=available,
        dropped_too_long=too_long,
        dropped_last_step=int(tally.left_out[number, sources, 0].sum()),
        truncated=sum(count.truncated for count in counts),
        tokens_per_word=sum(count.text_tokens for count in counts) / words if words else None,
    )


def ledger_csv(rows: Sequence[LedgerRow], *, by_source: bool) -> str:
    """Returns the ledger as CSV; shares and epochs with six decimals."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = ("language", "source") if by_source else ("language",)
    writer.writerow((*names, *_SHARES, *_COUNTS, "tokens_per_word"))
    for row in rows:
        fertility = row.tokens_per_word
        writer.writerow(
            (
                *(getattr(row, name) for name in names),
                *(f"{getattr(row, name):.6f}" for name in _SHARES),
                *(getattr(row, name) for name in _COUNTS),
                "" if fertility is None else f"{fertility:.3f}",
            )
        )
    return text.getvalue()


def ledger_table(rows: Sequence[LedgerRow]) -> str:
    """Returns the languages that are trained on as a table for the terminal."""
    head = "language  planned realised  epochs  conversations      tokens  supervised  truncated"
    lines = [f"{head}  tokens a word"]
    for row in rows:
        if row.conversations or row.planned_share:
            fertility = row.tokens_per_word
            lines.append(
                f"{row.language:<8} {row.planned_share:>8.1%} {row.realised_share:>8.1%} "
                f"{row.epochs:>7.2f} {row.conversations:>14,} {row.tokens:>11,} "
                f"{row.supervised_tokens:>11,} {row.truncated:>10,}"
                + ("" if fertility is None else f"  {fertility:>13.2f}")
            )
    return "\n".join(lines)
