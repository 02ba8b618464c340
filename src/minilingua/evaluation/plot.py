"""The picture of a comparison: both sides per language with chance, and the differences."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minilingua.core.languages import LANGUAGES
from minilingua.evaluation.comparison import Comparison
from minilingua.evaluation.metrics import METRICS
from minilingua.evaluation.scores import ALL

PANELS: tuple[tuple[str, str, str | None], ...] = (
    ("mcqa", "accuracy", ALL),
    ("mcqa_generated", "accuracy", ALL),
    ("loss", "bits_per_byte", None),
)
"""Task, metric and answer format of each row of panels."""

_LEFT, _RIGHT, _CHANCE = "#9db7d5", "#c4511d", "#555555"


def write_comparison_plot(
    path: Path, comparisons: Sequence[Comparison], left: str, right: str
) -> None:
    """Writes a PNG; the same comparisons give the same bytes.

    Args:
        path: where.
        comparisons: of ``compare``.
        left: name of the left side.
        right: name of the right side.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    order = (*LANGUAGES, ALL)
    panels = []
    for task, metric, answer_format in PANELS:
        found = {
            c.language: c
            for c in comparisons
            if (c.task, c.metric, c.answer_format) == (task, metric, answer_format)
        }
        if found:
            panels.append((task, metric, [found[code] for code in order if code in found]))
    figure = Figure(figsize=(11, 1 + 3 * max(1, len(panels))), dpi=110, layout="constrained")
    for number, (task, metric, rows) in enumerate(panels):
        values = figure.add_subplot(len(panels), 2, 2 * number + 1)
        differences = figure.add_subplot(len(panels), 2, 2 * number + 2)
        title = f"{task.replace('_', ' ')}: {METRICS[metric].label}"
        _draw_values(values, rows, title, left, right)
        _draw_differences(differences, rows, f"{right} - {left}, 95 %")
    FigureCanvasAgg(figure)
    # Without this the file would name the library's version.
    figure.savefig(path, format="png", metadata={"Software": None})


def _draw_values(axes: Any, rows: Sequence[Comparison], title: str, left: str, right: str) -> None:
    places = range(len(rows))
    axes.bar([p - 0.2 for p in places], [r.left for r in rows], 0.4, color=_LEFT, label=left)
    axes.bar([p + 0.2 for p in places], [r.right for r in rows], 0.4, color=_RIGHT, label=right)
    for place, row in zip(places, rows, strict=True):
        if row.chance is not None:
            label = "chance" if place == 0 else None
            ends = (place - 0.45, place + 0.45)
            axes.plot(ends, [row.chance] * 2, color=_CHANCE, linewidth=1.5, label=label)
    axes.set_xticks(list(places), [row.language for row in rows])
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.grid(alpha=0.3, axis="y")


def _draw_differences(axes: Any, rows: Sequence[Comparison], title: str) -> None:
    for place, row in enumerate(rows):
        sure = row.verdict != "no difference shown"
        if row.low is not None and row.high is not None:
            axes.plot([place] * 2, [row.low, row.high], color=_CHANCE, linewidth=1.5)
        axes.plot(
            [place],
            [row.difference],
            marker="o",
            color=_RIGHT if sure else "white",
            markeredgecolor=_RIGHT,
        )
    axes.axhline(0, color=_CHANCE, linewidth=1)
    axes.set_xticks(range(len(rows)), [row.language for row in rows])
    axes.set_title(f"{title} (filled: significant)", fontsize=10)
    axes.grid(alpha=0.3, axis="y")
