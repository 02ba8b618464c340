"""`minilingua throughput`: where the time of a training went, as a waterfall."""

import argparse
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from minilingua.core.errors import MissingInputError
from minilingua.core.events import read_telemetry
from minilingua.core.runs import find_run
from minilingua.provenance.waterfall import Waterfall, waterfall


def main(argv: Sequence[str]) -> int:
    """Prints the waterfall of a run directory.

    Raises:
        MissingInputError: there is no such run.
        DataError: its telemetry holds no step.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua throughput",
        description="Shows where the time of a training went, from the telemetry in its run "
        "directory.",
    )
    parser.add_argument(
        "run", nargs="?", help="run key, or its beginning (default: the current or last training)"
    )
    arguments = parser.parse_args(argv)
    path = find_run(arguments.run)
    if not (path / "telemetry.jsonl").exists():
        raise MissingInputError(f"{path}/telemetry.jsonl is missing; `minilingua train` writes it")
    found = waterfall(list(read_telemetry(path / "telemetry.jsonl")), path)
    _print(Console(), found)
    return 0


def _print(console: Console, found: Waterfall) -> None:
    table = Table(title=f"{found.steps} steps in {found.seconds:,.0f} s", title_justify="left")
    table.add_column("tokens/s if nothing below took time")
    table.add_column("tokens/s", justify="right")
    table.add_column("lost here", justify="right")
    for stage in found.stages:
        lost = "" if stage is found.stages[0] else f"{stage.lost:.1%}"
        table.add_row(stage.name, f"{stage.tokens_per_second:,.0f}", lost)
    table.add_row("padding (none: packed)", f"{found.stages[-1].tokens_per_second:,.0f}", "0.0%")
    table.add_row(
        "prompt tokens (leaves supervised tokens)",
        f"{found.supervised_tokens_per_second:,.0f}",
        f"{1 - found.supervised_share:.1%}",
    )
    console.print(table)
    mfu = "not known here" if found.mfu is None else f"{found.mfu:.1%}"
    replayed = f"; {found.replayed} steps were trained again" if found.replayed else ""
    console.print(
        f"{found.conversations_per_second:,.1f} conversations/s; model-FLOPs utilisation {mfu}; "
        f"peak memory {found.memory_mb:,.0f} MiB{replayed}",
        soft_wrap=True,
    )
