"""The picture of a training: losses over steps, with the selected step and the end marked."""

from collections.abc import Sequence
from pathlib import Path

from minilingua.core.events import EndEvent, EvaluationEvent, Event, StepEvent

_TRAIN, _VALIDATION, _MARK = "#9db7d5", "#c4511d", "#555555"


def write_loss_plot(path: Path, events: Sequence[Event]) -> None:
    """Writes a PNG; the same events give the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [event for event in events if isinstance(event, StepEvent)]
    evaluations = [event for event in events if isinstance(event, EvaluationEvent)]
    end = next((event for event in events if isinstance(event, EndEvent)), None)
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(
        [event.step for event in steps],
        [event.loss for event in steps],
        color=_TRAIN,
        linewidth=1.2,
        label="training (each step)",
    )
    axes.plot(
        [event.step for event in evaluations],
        [event.loss for event in evaluations],
        color=_VALIDATION,
        linewidth=1.8,
        marker="o",
        markersize=4,
        label="validation",
    )
    if end is not None:
        axes.plot(
            [end.best_step],
            [end.best_loss],
            linestyle="none",
            marker="*",
            markersize=15,
            color=_VALIDATION,
            markeredgecolor="black",
            label=f"selected: step {end.best_step}, {end.best_loss:.3f}",
        )
        how = "early stop" if end.reason == "early_stop" else "end of the plan"
        axes.axvline(
            end.step, color=_MARK, linestyle="--", linewidth=1, label=f"{how}: step {end.step}"
        )
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per supervised token)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    FigureCanvasAgg(figure)
    # Without this the file would name the library's version.
    figure.savefig(path, format="png", metadata={"Software": None})
