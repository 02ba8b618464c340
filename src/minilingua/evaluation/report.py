"""What ends an evaluation on the terminal: base against result, how sure, and some answers."""

import sys
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from minilingua.core.languages import LANGUAGES
from minilingua.evaluation.comparison import Compared, Comparison
from minilingua.evaluation.headline import told_interval, told_p, totals
from minilingua.evaluation.open_answers import WrittenAnswer
from minilingua.evaluation.scores import ALL

_LANGUAGE_COLUMNS: tuple[tuple[str, str, str, str | None], ...] = (
    ("accuracy", "mcqa", "accuracy", "text"),
    ("generated", "mcqa_generated", "accuracy", ALL),
    ("bits/byte", "loss", "bits_per_byte", None),
)
"""Title, task, metric and answer format."""
_SHOWN_ANSWERS = 3
_WIDTH = 130
_MARKS = {"better": "[green]better[/]", "worse": "[red]worse[/]", "no difference shown": ""}


def table_console() -> Console:
    """Returns a console for these tables: a file or pipe gets them whole, whatever COLUMNS says."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)


def print_report(
    compared: Compared,
    answers: Sequence[WrittenAnswer],
    console: Console | None = None,
) -> None:
    """Prints a table per language, one over all languages, and a few open answers."""
    console = console or table_console()
    console.print(
        language_table(compared.comparisons, "base", "result"),
        difference_table(compared.comparisons, "base", "result"),
    )
    for answer in answers[:: max(1, len(answers) // _SHOWN_ANSWERS)][:_SHOWN_ANSWERS]:
        console.print(_shown(answer))


def language_table(comparisons: Sequence[Comparison], left: str, right: str) -> Table:
    """Returns both sides by language, with chance and what is significantly better or worse.

    Args:
        comparisons: of ``compare``.
        left: name of the left side.
        right: name of the right side.
    """
    table = Table(
        title="By language: accuracy of text answers (likelihood), of all formats (generated)",
        box=SIMPLE_HEAD,
    )
    table.add_column("")
    index = {(c.task, c.metric, c.answer_format, c.language): c for c in comparisons}
    present = [
        column for column in _LANGUAGE_COLUMNS if any(key[:3] == column[1:] for key in index)
    ]
    for title, task, *_ in present:
        if task.startswith("mcqa"):
            table.add_column("n", justify="right")
            table.add_column("chance", justify="right")
        for side in (left, right):
            table.add_column(f"{title}\n{escape(side)}", justify="right")
        table.add_column("", justify="left")
    languages = [code for code in LANGUAGES if any(key[3] == code for key in index)]
    for language in (*languages, ALL):
        cells: list[str] = []
        for _, task, metric, answer_format in present:
            found = index.get((task, metric, answer_format, language))
            if task.startswith("mcqa"):
                cells += [str(found.n), _number(found.chance)] if found else ["", ""]
            cells += (
                [_number(found.left), _number(found.right), _MARKS[found.verdict]]
                if found
                else ["", "", ""]
            )
        table.add_row(language, *cells, end_section=language == languages[-1])
    return table


def difference_table(comparisons: Sequence[Comparison], left: str, right: str) -> Table:
    """Returns the figures over all languages: difference, interval, p and verdict.

    Args:
        comparisons: of ``compare``.
        left: name of the left side.
        right: name of the right side.
    """
    table = Table(title="All languages", box=SIMPLE_HEAD)
    table.add_column("")
    for title in ("n", "chance", escape(left), escape(right), "difference", "95 %", "p"):
        table.add_column(title, justify="right")
    table.add_column("")
    for label, found in totals(comparisons):
        table.add_row(
            label,
            str(found.n),
            _number(found.chance),
            _number(found.left),
            _number(found.right),
            f"{found.difference:+.3f}",
            told_interval(found),
            told_p(found.p),
            _MARKS[found.verdict],
        )
    return table


def _shown(answer: WrittenAnswer) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1), title_justify="left")
    for name in ("prompt", "reference", "base", "result"):
        text = " ".join(getattr(answer, name).split())
        table.add_row(f"[dim]{answer.language} {name}[/]", escape(text[:200]))
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
