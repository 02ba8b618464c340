"""What a person sees on standard error while a training runs."""

import sys
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from minilingua.core.events import DecisionEvent, EvaluationEvent, StepEvent


def say(message: str) -> None:
    """Prints one line above the progress bar, if there is one."""
    tqdm.write(f"train: {message}", file=sys.stderr)


@dataclass(slots=True)
class Console:
    """Progress bar on a terminal; one line an evaluation where there is none (a log file)."""

    bar: Any = None

    def begin(self, step: int, steps: int) -> None:
        """Shows the bar, standing at ``step``."""
        if sys.stderr.isatty():
            self.bar = tqdm(
                total=steps, initial=step, unit="step", dynamic_ncols=True, file=sys.stderr
            )

    def step(self, event: StepEvent, seconds: float, mfu: float | None) -> None:
        """Moves the bar by a step.

        Args:
            event: the step.
            seconds: that it took.
            mfu: model-FLOPs utilisation, if the device's peak is known.
        """
        if self.bar is not None:
            shown = [
                f"loss {event.loss:.3f}",
                f"{event.tokens / seconds:,.0f} tokens/s",
                f"{event.supervised_tokens / seconds:,.0f} supervised",
                *([] if mfu is None else [f"MFU {mfu:.1%}"]),
            ]
            self.bar.set_postfix_str(", ".join(shown), refresh=False)
            self.bar.update()

    def evaluation(
        self, event: EvaluationEvent, decision: DecisionEvent, last: StepEvent | None
    ) -> None:
        """Tells of an evaluation and what follows from it."""
        train = f", train loss {last.loss:.3f}" if last is not None else ""
        best = (
            "best so far" if decision.best_step == event.step else f"best {decision.best_loss:.3f}"
        )
        stop = "; stopping" if decision.verdict == "stop" else ""
        error = f" ± {event.standard_error:.3f}" if event.standard_error is not None else ""
        worse = "; worse: " + ", ".join(sorted(decision.worse_languages))
        say(
            f"step {event.step}: validation loss {event.loss:.3f}{error} ({best}){train}"
            f"{worse if decision.worse_languages else ''}{stop}"
        )

    def end(self) -> None:
        """Takes the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
