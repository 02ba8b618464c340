"""The charts of the report, as SVG that stands in the page."""

import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from minilingua.core.events import DecisionEvent, EndEvent, EvaluationEvent, StepEvent
from minilingua.core.records import Score
from minilingua.provenance.training_record import Training
from minilingua.provenance.waterfall import Waterfall
from minilingua.report.content import LanguageRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LIGHT, _DARK, _ACCENT, _MARK = "#9db7d5", "#1f4e79", "#c4511d", "#6b7280"
_SMOOTH = 0.05
"""Share of the steps that the smoothed line of the training loss averages over."""


def loss_chart(training: Training) -> str:
    """Returns the losses over the steps, with the decisions of early stopping."""
    figure = _figure(8, 4)
    axes = figure.add_subplot()
    steps = [event for event in training.events if isinstance(event, StepEvent)]
    places = np.array([event.step for event in steps])
    losses = np.array([event.loss for event in steps])
    axes.plot(places, losses, color=_LIGHT, linewidth=0.8, label="training, each step")
    width = max(1, round(_SMOOTH * len(losses)))
    if width > 1:
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        axes.plot(places[width - 1 :], smooth, color=_DARK, label=f"training, mean of {width}")
    evaluations = [event for event in training.events if isinstance(event, EvaluationEvent)]
    axes.plot(
        [event.step for event in evaluations],
        [event.loss for event in evaluations],
        color=_ACCENT, marker="o", markersize=4, label="validation",
    )  # fmt: skip
    worse = [
        event
        for event in training.events
        if isinstance(event, DecisionEvent) and event.verdict in {"waiting", "stop"}
    ]
    if worse:
        axes.plot(
            [event.step for event in worse], [event.loss for event in worse], marker="x",
            color=_MARK, markersize=8, linestyle="none", label="no improvement",
        )  # fmt: skip
    for event in training.events:
        if isinstance(event, EndEvent):
            axes.plot(
                event.best_step, event.best_loss, marker="*", markersize=14, linestyle="none",
                color=_ACCENT, markeredgecolor="black", label=f"selected: step {event.best_step}",
            )  # fmt: skip
            told = f"end: {event.reason.replace('_', ' ')}"
            axes.axvline(event.step, color=_MARK, linestyle="--", linewidth=1, label=told)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("nats per supervised token")
    axes.legend(frameon=False, loc="upper right")
    axes.grid(alpha=0.3)
    return _svg(figure, "Losses of training and validation over the steps")


def loss_by_language_chart(training: Training) -> str:
    """Returns the validation loss of each language over the steps."""
    figure = _figure(8, 4)
    axes = figure.add_subplot()
    evaluations = [event for event in training.events if isinstance(event, EvaluationEvent)]
    languages = list(evaluations[0].languages) if evaluations else []
    for number, code in enumerate(languages):
        found = [(e.step, e.languages[code].loss) for e in evaluations if code in e.languages]
        axes.plot(*zip(*found, strict=True), label=code, linewidth=1.2, color=f"C{number % 10}",
                  linestyle="-" if number < 10 else "--")  # fmt: skip
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("validation loss")
    axes.legend(frameon=False, ncols=2, fontsize="small", loc="upper right")
    axes.grid(alpha=0.3)
    return _svg(figure, "Validation loss of each language over the steps")


def results_chart(rows: Sequence[LanguageRow]) -> str:
    """Returns loss and accuracy of base and result by language, with standard errors and chance."""
    figure = _figure(8, 0.36 * len(rows) + 1.2)
    loss, accuracy = figure.subplots(1, 2, sharey=True)
    place = np.arange(len(rows))
    for axes, names, title in (
        (loss, ("loss_base", "loss"), "loss (nats), lower is better"),
        (accuracy, ("accuracy_base", "accuracy"), "accuracy, higher is better"),
    ):
        for offset, name, colour, label in (
            (-0.2, names[0], _LIGHT, "base"),
            (0.2, names[1], _DARK, "result"),
        ):
            scores = [getattr(row, name) for row in rows]
            axes.barh(
                place + offset, [_value(score) for score in scores], height=0.4, color=colour,
                xerr=[_error(score) for score in scores], label=label,
                error_kw={"elinewidth": 0.8, "capsize": 2},
            )  # fmt: skip
        axes.set_title(title, fontsize="medium")
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    chance = [_value(row.chance) for row in rows]
    accuracy.plot(chance, place, marker="|", markersize=14, linestyle="none", color=_ACCENT,
                  markeredgewidth=2, label="chance")  # fmt: skip
    accuracy.legend(frameon=False, fontsize="small", loc="lower right")
    loss.set_yticks(place, [row.name for row in rows])
    loss.invert_yaxis()
    return _svg(figure, "Loss and accuracy by language, base and result")


def mixture_chart(ledger: Sequence[Mapping[str, str]], unit: str) -> str:
    """Returns planned and realised shares, and epochs, of each language."""
    figure = _figure(8, 0.32 * len(ledger) + 1.2)
    shares, epochs = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    place = np.arange(len(ledger))
    for offset, key, colour in ((-0.2, "planned_share", _LIGHT), (0.2, "realised_share", _DARK)):
        values = [100 * float(row.get(key) or 0) for row in ledger]
        shares.barh(place + offset, values, height=0.4, color=colour, label=key.partition("_")[0])
    epochs.barh(place, [float(row.get("epochs") or 0) for row in ledger], color=_ACCENT)
    shares.set_yticks(place, [row["language"] for row in ledger])
    shares.invert_yaxis()
    shares.set_xlabel(f"share of {unit.replace('_', ' ')}, %")
    epochs.set_xlabel("epochs")
    shares.legend(frameon=False, fontsize="small", loc="lower right")
    for axes in (shares, epochs):
        axes.grid(axis="x", alpha=0.3)
        axes.set_axisbelow(True)
    return _svg(figure, "Shares and epochs of each language in the training schedule")


def waterfall_chart(found: Waterfall) -> str:
    """Returns the tokens a second that are left after each thing that takes time."""
    names = [stage.name for stage in found.stages]
    rates = [stage.tokens_per_second for stage in found.stages]
    names.append("of it, supervised")
    rates.append(found.supervised_tokens_per_second)
    above = [rates[0], *rates[:-1]]
    figure = _figure(8, 0.36 * len(names) + 0.9)
    axes = figure.add_subplot()
    place = np.arange(len(names))
    axes.barh(place, above, height=0.6, color=_LIGHT, label="lost here")
    axes.barh(place, rates, height=0.6, color=_DARK, label="left")
    for row, (rate, before) in enumerate(zip(rates, above, strict=True)):
        lost = f", {1 - rate / before:.1%} lost" if row else ""
        axes.annotate(f"{rate:,.0f}{lost}", (before, row), (4, 0), textcoords="offset points",
                      va="center", fontsize="small")  # fmt: skip
    axes.set_yticks(place, names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.3 * max(rates))
    axes.set_xlabel("tokens a second")
    axes.legend(frameon=False, fontsize="small", loc="lower right")
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    return _svg(figure, "Tokens a second left after each thing that takes time")


def _value(score: Score | None) -> float:
    """Returns the value, or what is not drawn."""
    return score.value if score is not None else math.nan


def _error(score: Score | None) -> float:
    return (score.stderr or 0.0) if score is not None else 0.0


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: "Figure", title: str) -> str:
    """Returns an SVG element; the same figure gives the same text."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    with mpl.rc_context({"svg.hashsalt": title, "svg.fonttype": "none"}):
        FigureCanvasSVG(figure)
        text = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(text, format="svg", metadata=nothing)
    drawn = text.getvalue()
    element = drawn[drawn.index("<svg") :]
    # Ids are looked up in the whole page: charts must not share any.
    prefix = re.sub(r"\W+", "", title)
    element = re.sub(r'\bid="', f'id="{prefix}-', element)
    element = re.sub(r'(xlink:href="#|url\(#)', rf"\1{prefix}-", element)
    return element.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
