"""Whole processes: the command line's help, and ``dvc repro`` when nothing has changed.

Help is compared with the start of Python itself, the no-op with the start of DVC in the same
repository (``dvc root``) and with ``dvc status``, which looks at the same stages. The line has run
in a checkout of its own before.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.harness import begin, interleave, timed
from benchmarks.options import output_of, parser, repetitions_of
from benchmarks.results import Result, report, row
from tests.pipeline.workspace import Workspace, checkout

UP_TO_DATE = "Data and pipelines are up to date."
FIRST_STAGE = "fetch"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    options = parser("command_line", __doc__, repetitions=20).parse_args(argv)
    settings = begin(options.threads)
    targets = [FIRST_STAGE] if options.short else []
    commands = {
        "help": ("minilingua", "--help"),
        "stage help": ("minilingua", "train", "--help"),
        "python": (sys.executable, "-c", "pass"),
        "repro": ("dvc", "repro", *targets),
        "status": ("dvc", "status", *targets),
        "root": ("dvc", "root"),
    }
    with _workspace(options, targets) as workspace:
        _require_no_op(workspace, targets)
        timings = interleave(
            {
                name: timed(lambda command=command: workspace.run(*command))  # type: ignore[misc]  # a default binds it
                for name, command in commands.items()
            },
            repetitions=repetitions_of(options),
            label="command line",
        )
        _require_no_op(workspace, targets)
    pairs = (("help", "python"), ("stage help", "python"), ("repro", "root"), ("repro", "status"))
    report(
        Result(
            benchmark="command_line",
            claim="Whole processes, by the time that they take.",
            settings={**settings, "stages": targets or "all"},
            checks={"no_op": True},
            rows=[
                row(
                    timings,
                    _shown(commands[ours]),
                    _shown(commands[theirs]),
                    ours=ours,
                    theirs=theirs,
                    measure="time",
                )
                for ours, theirs in pairs
            ],
        ),
        output_of(options),
    )
    return 0


@contextlib.contextmanager
def _workspace(options: argparse.Namespace, targets: list[str]) -> Iterator[Workspace]:
    """Yields a checkout in which the line has run."""
    if options.line is not None:
        yield Workspace(path=options.line.resolve())
        return
    with TemporaryDirectory(prefix="minilingua-benchmark-") as directory:
        workspace = checkout(Path(directory) / "checkout")
        workspace.repro(*targets)
        yield workspace


def _require_no_op(workspace: Workspace, targets: list[str]) -> None:
    said = workspace.run("dvc", "status", *targets).stdout
    if UP_TO_DATE not in said:
        raise SystemExit(f"the comparison is void: not everything is up to date: {said}")


def _shown(command: Sequence[str]) -> str:
    return " ".join(["python" if part == sys.executable else part for part in command])


if __name__ == "__main__":
    sys.exit(main())
