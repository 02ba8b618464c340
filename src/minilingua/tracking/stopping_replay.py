"""`minilingua early-stopping`: a training's decisions again, and those of another rule.

    events.jsonl ─► recorded decisions, computed again from the evaluations: equal?
                └─► decisions under a rule of your own ─► where it stops, which step it selects

What lies after the training's end nobody knows: a rule that would have gone on is told so.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from minilingua.core.errors import DataError, ParamsError
from minilingua.core.events import (
    DecisionEvent,
    EndEvent,
    EvaluationEvent,
    Event,
    compact,
    read_events,
)
from minilingua.params import EarlyStoppingParams
from minilingua.training.early_stopping import replay, rule_of

EVENTS = Path("reports/train/events.jsonl")


def main(argv: Sequence[str]) -> int:
    """Replays the decisions and prints them.

    Raises:
        DataError: the recorded decisions do not follow from the recorded evaluations.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    events = compact(read_events(arguments.events))
    recorded = [event for event in events if isinstance(event, DecisionEvent)]
    if not recorded:
        raise DataError(f"{arguments.events}: holds no decision")
    rule = rule_of(recorded[-1])
    check_record(events, arguments.events)
    changes = {
        name: value
        for name in EarlyStoppingParams.model_fields
        if (value := getattr(arguments, name, None)) is not None
    }
    console = Console()
    if not changes:
        _print(console, events, recorded, f"As recorded: {describe(rule)}")
        console.print(f"All {len(recorded)} decisions follow from the evaluations.")
        console.print(_outcome(events, recorded))
        return 0
    changed = _rule(rule, changes)
    decisions = replay(events, changed)
    _print(console, events, decisions, f"Under another rule: {describe(changed)}")
    console.print(f"Recorded:   {_outcome(events, recorded)}")
    console.print(f"This rule:  {_outcome(events, decisions)}")
    return 0


def check_record(events: Sequence[Event], where: Path) -> None:
    """Computes the recorded decisions again.

    Raises:
        DataError: one of them is another.
    """
    recorded = [event for event in events if isinstance(event, DecisionEvent)]
    again = replay(events, rule_of(recorded[-1]))
    for ours, theirs in zip(recorded, again, strict=False):
        if ours != theirs:
            raise DataError(
                f"{where}: the decision at step {ours.step} ({ours.verdict}) does not follow from "
                f"the evaluations, which give {theirs.verdict}: {theirs.reason}"
            )
    if len(recorded) != len(again):
        raise DataError(
            f"{where}: holds {len(recorded)} decisions, the evaluations give {len(again)}"
        )


def describe(rule: EarlyStoppingParams) -> str:
    """Returns a rule in a few words."""
    parts = [f"patience {rule.patience}", f"min_delta {rule.min_delta:g}"]
    if rule.standard_errors:
        parts.append(f"plus {rule.standard_errors:g} standard errors")
    if rule.warmup_steps:
        parts.append(f"warm-up {rule.warmup_steps} steps")
    if rule.language_bound is not None:
        what = "stops" if rule.language_stop else "is recorded"
        parts.append(f"a language worse by {rule.language_bound:g} {what}")
    return ", ".join(parts if rule.enabled else [*parts, "never stops"])


def _rule(recorded: EarlyStoppingParams, changes: dict[str, object]) -> EarlyStoppingParams:
    try:
        return EarlyStoppingParams.model_validate(
            {**recorded.model_dump(), "enabled": True, **changes}
        )
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-")
        raise ParamsError(f"--{option}: {first['msg']}, found {first['input']}") from error


def _outcome(events: Sequence[Event], decisions: Sequence[DecisionEvent]) -> str:
    """Returns where a training stops, what it selects, and what is not known."""
    last = decisions[-1]
    selected = f"selects step {last.best_step} (loss {last.best_loss:.4f})"
    if last.verdict == "stop":
        return f"stops at step {last.step}, {selected}."
    end = next((event for event in events if isinstance(event, EndEvent)), None)
    if end is not None and end.reason == "plan_complete":
        return f"trains to the end of the plan at step {end.step}, {selected}."
    return (
        f"goes on after step {last.step}, where the record ends; until there it {selected}. "
        "What follows is not known."
    )


def _print(
    console: Console, events: Sequence[Event], decisions: Sequence[DecisionEvent], title: str
) -> None:
    errors = {
        event.step: event.standard_error for event in events if isinstance(event, EvaluationEvent)
    }
    table = Table(title=title, title_justify="left")
    for name in ("step", "loss", "± error", "margin", "best", "waited"):
        table.add_column(name, justify="right")
    for name in ("verdict", "worse languages"):
        table.add_column(name)
    for item in decisions:
        error = errors.get(item.step)
        table.add_row(
            str(item.step),
            f"{item.loss:.4f}",
            "" if error is None else f"{error:.4f}",
            "" if item.margin is None else f"{item.margin:.4f}",
            str(item.best_step),
            str(item.evaluations_without_improvement),
            item.verdict,
            ", ".join(f"{code} +{by:.3f}" for code, by in sorted(item.worse_languages.items())),
        )
    console.print(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minilingua early-stopping",
        description="Computes the early-stopping decisions of a training again from its events. "
        "With an option, shows what would have happened under another rule; what is not given is "
        "as recorded.",
    )
    parser.add_argument(
        "--events", type=Path, default=EVENTS, help="record to read (default: %(default)s)"
    )
    fields = EarlyStoppingParams.model_fields
    for name, kind in (
        ("patience", int),
        ("min_delta", float),
        ("warmup_steps", int),
        ("standard_errors", float),
        ("language_bound", float),
    ):
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=fields[name].description)
    parser.add_argument(
        "--language-stop",
        action=argparse.BooleanOptionalAction,
        help=fields["language_stop"].description,
    )
    return parser
