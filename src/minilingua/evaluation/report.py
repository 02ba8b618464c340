"""The table that ends an evaluation: base against result, with chance and standard errors."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from minilingua.core.languages import LANGUAGES
from minilingua.core.records import Score
from minilingua.evaluation.scores import ALL, ModelName, ScoreIndex

_MODELS: tuple[ModelName, ModelName] = ("base", "result")

_TOTALS = (
    ("text, all questions", "text", "mcqa"),
    ("text, facts seen in training", "text", "mcqa_seen_facts"),
    ("text, facts never seen", "text", "mcqa_unseen_facts"),
    ("letter, all questions", "letter", "mcqa"),
    ("number, all questions", "number", "mcqa"),
)
_LOSSES = (
    ("loss", "loss"),
    ("loss, prompts shuffled", "loss_shuffled_prompts"),
    ("loss, unigram baseline", "unigram_loss"),
)


def print_report(scores: Sequence[Score], console: Console | None = None) -> None:
    """Prints a table per language and one over all languages."""
    console = console or Console()
    index = ScoreIndex(scores)
    languages = [code for code in LANGUAGES if any(score.language == code for score in scores)]
    console.print(_by_language(index, languages), _totals(index))


def _by_language(index: ScoreIndex, languages: Sequence[str]) -> Table:
    table = Table(title="Held-out data by language (accuracy: text answers)", box=SIMPLE_HEAD)
    table.add_column("")
    for title in (
        "loss\nbase",
        "loss\nresult",
        "questions",
        "chance",
        "accuracy\nbase",
        "accuracy\nresult",
    ):
        table.add_column(title, justify="right")
    for language in (*languages, ALL):
        chance = index.choice("result", "text", language=language, metric="chance")
        table.add_row(
            language,
            *(_value(index.loss(model, "loss", language)) for model in _MODELS),
            str(chance.n) if chance else "",
            _value(chance),
            *(_value(index.choice(model, "text", language=language)) for model in _MODELS),
            end_section=language == languages[-1],
        )
    return table


def _totals(index: ScoreIndex) -> Table:
    table = Table(title="All languages (± one standard error)", box=SIMPLE_HEAD)
    table.add_column("")
    for title in ("n", "chance", "base", "result"):
        table.add_column(title, justify="right")
    for label, answer_format, task in _TOTALS:
        scores = [index.choice(model, answer_format, task=task) for model in _MODELS]
        chance = index.choice("result", answer_format, task=task, metric="chance")
        if chance:
            table.add_row(label, str(chance.n), _value(chance), *map(_with_error, scores))
    for label, task in _LOSSES:
        scores = [index.loss(model, task) for model in _MODELS]
        n = next((str(score.n) for score in scores if score), "")
        table.add_row(label, n, "", *map(_with_error, scores))
    return table


def _value(score: Score | None) -> str:
    return "" if score is None else f"{score.value:.3f}"


def _with_error(score: Score | None) -> str:
    error = "" if score is None or score.stderr is None else f" ± {score.stderr:.3f}"
    return _value(score) + error
