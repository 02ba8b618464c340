"""Comparisons on the page: base and result, and what `minilingua compare` has set beside them.

A comparison with another run lies in ``reports/compare`` until somebody removes it; it is told of
only while one of its sides is the evaluation that the page is about.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from minilingua.core.errors import DataError
from minilingua.core.files import read_json, sha256_file
from minilingua.evaluation.comparison import Comparison
from minilingua.evaluation.headline import told_interval, told_p, totals
from minilingua.evaluation.scores import ALL
from minilingua.provenance.lineage import COMPARED, EVALUATION_DETAILS, SIDES

_adapter = TypeAdapter(list[Comparison])


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A figure of both sides, for people."""

    label: str
    n: int
    chance: str
    left: str
    right: str
    difference: str
    interval: str
    """95 %, of the difference."""
    p: str
    verdict: Literal["better", "worse", ""]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Two evaluations beside each other."""

    left: str
    right: str
    totals: Sequence[Row]
    languages: Sequence[Row]
    """Accuracy of text answers in each language."""
    plot: str | None
    """The PNG as a data URI; None where there is none."""


def read_comparisons() -> list[Sides]:
    """Returns base and result, then the other runs that were compared with this evaluation.

    Raises:
        DataError: a file is no comparison.
    """
    found = []
    if (EVALUATION_DETAILS / "comparison.json").exists():
        found.append(_read(EVALUATION_DETAILS, "base", "result"))
    items = EVALUATION_DETAILS / "items.jsonl"
    current = sha256_file(items) if items.exists() else None
    for file in sorted(COMPARED.glob(f"*/{SIDES}")):
        left, right = (read_json(file).get(side, {}) for side in ("left", "right"))
        if current in {left.get("items_sha256"), right.get("items_sha256")} - {None}:
            found.append(_read(file.parent, _name(left), _name(right)))
    return found


def _name(side: dict[str, Any]) -> str:
    name = str(side.get("name"))
    return "this run" if name == "." else name


def _read(directory: Path, left: str, right: str) -> Sides:
    file, plot = directory / "comparison.json", directory / "comparison.png"
    try:
        comparisons = _adapter.validate_json(file.read_bytes())
    except (FileNotFoundError, ValidationError) as error:
        raise DataError(
            f"{file}: is no comparison; `minilingua evaluate` or `minilingua compare` writes it"
        ) from error
    of_language = {
        c.language: c
        for c in comparisons
        if (c.task, c.metric, c.answer_format) == ("mcqa", "accuracy", "text")
    }
    of_language.pop(ALL, None)
    image = base64.b64encode(plot.read_bytes()).decode() if plot.exists() else None
    return Sides(
        left=left,
        right=right,
        totals=[_row(label, c) for label, c in totals(comparisons)],
        languages=[_row(language, c) for language, c in of_language.items()],
        plot=image and f"data:image/png;base64,{image}",
    )


def _row(label: str, found: Comparison) -> Row:
    verdict = found.verdict
    return Row(
        label=label,
        n=found.n,
        chance="" if found.chance is None else f"{found.chance:.3f}",
        left=f"{found.left:.3f}",
        right=f"{found.right:.3f}",
        difference=f"{found.difference:+.3f}",
        interval=told_interval(found),
        p=told_p(found.p),
        verdict=verdict if verdict in {"better", "worse"} else "",  # type: ignore[arg-type]
    )
