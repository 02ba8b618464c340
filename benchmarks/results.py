"""Results: rows of ratios with the machine that they were measured on, as JSON and Markdown."""

import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table as Printed

from benchmarks.harness import WHOLE, Timings
from minilingua.core.files import write_json, write_text

RESULTS = Path(__file__).parent / "results"
_PACKAGES = (
    "torch",
    "transformers",
    "megatron-core",
    "tokenizers",
    "datasets",
    "trl",
    "safetensors",
    "dvc",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One ratio."""

    case: str
    """What was measured, such as ``5m, packed``."""
    against: str
    """What it was compared with."""
    measure: Literal["speed", "time"]
    """speed: 2 means twice as fast as ``against``. time: 2 means it takes twice as long."""
    ratio: float
    lower_quartile: float
    upper_quartile: float
    repetitions: int
    seconds: float
    """Median of ours: for scale only, it depends on the machine and what else runs on it."""
    target: float | None = None
    """Least speed, or largest time, that is aimed at."""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.ratio >= self.target if self.measure == "speed" else self.ratio <= self.target


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Figures that are no ratios, as they are shown."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one benchmark measured."""

    benchmark: str
    claim: str
    settings: dict[str, Any]
    checks: dict[str, Any]
    """What had to hold for the comparison to count, with its figures."""
    rows: Sequence[Row]
    tables: Sequence[Table] = ()
    """Shown before the ratios."""
    notes: Sequence[str] = ()


def row(
    timings: Timings,
    case: str,
    against: str,
    *,
    ours: str,
    theirs: str,
    part: str = WHOLE,
    measure: Literal["speed", "time"] = "speed",
    target: float | None = None,
) -> Row:
    """Returns the row that compares two sides of a measurement."""
    pair = (theirs, ours) if measure == "speed" else (ours, theirs)
    ratio = timings.ratio(*pair, part)
    return Row(
        case=case,
        against=against,
        measure=measure,
        ratio=round(ratio.median, 3),
        lower_quartile=round(ratio.lower_quartile, 3),
        upper_quartile=round(ratio.upper_quartile, 3),
        repetitions=timings.repetitions,
        seconds=round(timings.median_seconds(ours, part), 4),
        target=target,
    )


def machine() -> dict[str, Any]:
    """Describes this machine, without its name."""
    packages: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            packages[package] = None
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": packages,
    }


def report(result: Result, output: Path) -> None:
    """Prints the table, and writes ``<benchmark>.json`` and ``<benchmark>.md`` into a directory."""
    about = machine()
    write_json(
        output / f"{result.benchmark}.json",
        {
            **asdict(result),
            "rows": [{**asdict(item), "met": item.met} for item in result.rows],
            "machine": about,
        },
    )
    write_text(output / f"{result.benchmark}.md", _markdown(result, about))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(result.claim)
    for table in (*result.tables, _ratios(result.rows)):
        printed = Printed()
        for place, column in enumerate(table.columns):
            printed.add_column(column, justify="right" if _is_right(table, place) else "left")
        for cells in table.rows:
            printed.add_row(*cells)
        console.print(printed)
    for note in result.notes:
        console.print(note)


_COLUMNS = ("case", "against", "ratio", "quartiles", "pairs", "target")


def verdict(*, met: bool | None) -> str:
    """Returns how a target is told of."""
    return {True: "met", False: "missed", None: ""}[met]


def _ratios(rows: Sequence[Row]) -> Table:
    return Table(columns=_COLUMNS, rows=[_cells(item) for item in rows])


def _is_right(table: Table, place: int) -> bool:
    """Whether a column is one of figures, and not of names."""
    return place >= (2 if tuple(table.columns) == _COLUMNS else 1)


def _markdown_table(table: Table) -> list[str]:
    rules = ("--:" if _is_right(table, place) else "---" for place in range(len(table.columns)))
    return [
        "| " + " | ".join(table.columns) + " |",
        "|" + "|".join(rules) + "|",
        *("| " + " | ".join(cells) + " |" for cells in table.rows),
        "",
    ]


def _cells(item: Row) -> tuple[str, ...]:
    of = "x as fast" if item.measure == "speed" else "x as long"
    sign = "≥" if item.measure == "speed" else "≤"
    return (
        item.case,
        item.against,
        f"{item.ratio:.2f} {of}",
        f"{item.lower_quartile:.2f} to {item.upper_quartile:.2f}",
        str(item.repetitions),
        "" if item.target is None else f"{sign} {item.target:g}: {verdict(met=item.met)}",
    )


def _markdown(result: Result, about: dict[str, Any]) -> str:
    lines = [
        result.claim,
        "",
        *(
            text
            for table in (*result.tables, _ratios(result.rows))
            for text in _markdown_table(table)
        ),
        *(f"{note}\n" for note in result.notes),
        f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB; "
        + ", ".join(f"{name} {found}" for name, found in about["packages"].items() if found)
        + f". {result.settings['threads']} threads; load average before it began "
        f"{result.settings['load_average_before']}.",
    ]
    return "\n".join(lines) + "\n"


def _cpu_model() -> str:
    file = Path("/proc/cpuinfo")
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
