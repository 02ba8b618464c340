"""What the reference published, beside ours: a table in Markdown.

Published figures are marked as such everywhere: they are of another model, prompts and, for
translations and summaries, another metric or scale.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from minilingua.core.records import ModelName, Score
from minilingua.evaluation.scores import ALL
from minilingua.lm_benchmarks.contamination import SUFFIX
from minilingua.lm_benchmarks.units import TASKS

_MAIN_METRIC = {"flores": "chrf", "massivesum": "rouge2"}
"""Of the others it is ``acc``."""
_MODELS: tuple[ModelName, ...] = ("base", "result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Base against result, on the same rows."""

    task: str
    answer_format: str | None
    instruction_language: str | None
    metric: str
    difference: float
    """result - base, mean over languages."""
    low: float
    """Lower end of the 95 % bootstrap interval."""
    high: float
    """Upper end of it."""
    p: float
    """Of the paired randomization test, two-sided."""
    n: int
    """Rows drawn: a row in all its languages is one."""


@functools.cache
def published() -> dict[str, Any]:
    """Returns the published figures, as ``published.yaml`` lists them."""
    source = files("minilingua.lm_benchmarks") / "published.yaml"
    listed: dict[str, Any] = YAML(typ="safe", pure=True).load(source.read_text(encoding="utf-8"))
    return listed


def main_metric(task: str) -> str:
    """Returns the metric that a table shows of a task."""
    return _MAIN_METRIC.get(TASKS[task.removesuffix(SUFFIX)].benchmark, "acc")


def markdown(scores: Sequence[Score], differences: Sequence[Difference] = ()) -> str:
    """Returns the table: means over the languages that were run, chance, and what is published.

    Args:
        scores: of ``reports/benchmarks.json``; may lack anything.
        differences: of base and result.
    """
    index = {
        (s.model, s.task, s.answer_format, s.instruction_language, s.metric): s
        for s in scores
        if s.language == ALL
    }
    source = published()
    reference = source["models"][0]
    titles = (
        *("task", "answer", "instruction", "metric", "chance", "base, ours", "result, ours"),
        "result - base (p)",
        *(f"{reference} {kind}, **published**" for kind in ("base", "SFT")),
    )
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    notes: list[str] = []
    compared = {(d.task, d.answer_format, d.instruction_language): d for d in differences}
    for task, answer_format, instruction in _rows(scores):
        metric = main_metric(task)
        chance = next(
            (
                found
                for model in _MODELS
                if (found := index.get((model, task, answer_format, instruction, "chance")))
            ),
            None,
        )
        ours = [
            _figure(index.get((model, task, answer_format, instruction, metric)))
            for model in _MODELS
        ]
        theirs = [_published(model, task, answer_format, instruction, notes) for model in _MODELS]
        cells = [
            task,
            answer_format or "",
            instruction or "",
            metric,
            "" if chance is None else f"{chance.value:.3f}",
            *ours,
            _difference(compared.get((task, answer_format, instruction))),
            *theirs,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {note}" for number, note in enumerate(notes, start=1))]
    if notes:
        lines.append("")
    lines.append(
        "Published: MiniLingua-ai/training_artifacts, evaluation/README.md at "
        f"{source['revision'][:12]}. Its prompts and answer extraction are not ours."
    )
    return "\n".join(lines) + "\n"


def _rows(scores: Sequence[Score]) -> list[tuple[str, str | None, str | None]]:
    order = list(TASKS)
    rows = {(s.task, s.answer_format, s.instruction_language) for s in scores}
    for model in _MODELS:
        for row in published()[model]:
            for answer_format in _formats(row):
                rows.add((row["task"], answer_format, row.get("instruction")))
    return sorted(
        rows,
        key=lambda row: (
            order.index(row[0].removesuffix(SUFFIX)),
            row[2] or "",
            row[1] or "",
            row[0],
        ),
    )


def _formats(row: dict[str, Any]) -> tuple[str | None, ...]:
    return (row["format"],) if "format" in row else TASKS[row["task"]].answer_formats


def _published(
    model: ModelName,
    task: str,
    answer_format: str | None,
    instruction: str | None,
    notes: list[str],
) -> str:
    for row in published()[model]:
        if (row["task"], row.get("instruction")) == (task, instruction) and answer_format in (
            _formats(row)
        ):
            mark = ""
            if "note" in row:
                note = published()["notes"][row["note"]]
                if note not in notes:
                    notes.append(note)
                mark = f" ({notes.index(note) + 1})"
            return f"{row['figures'][0]:.3f}{mark}"
    return ""


def _figure(score: Score | None) -> str:
    if score is None:
        return "not run"
    error = "" if score.stderr is None else f" ± {score.stderr:.3f}"
    return f"{score.value:.3f}{error}"


def _difference(found: Difference | None) -> str:
    return "" if found is None else f"{found.difference:+.3f} ({found.p:.3f})"
