"""The command ``minilingua track``: brings MLflow up to date, once or while a training runs."""

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from minilingua.provenance.lineage import read_lineage


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code.

    Raises:
        TrackingError: MLflow cannot be used.
        DataError: a file of a run cannot be read.
        MissingInputError: the run directory to follow is missing.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if not arguments.follow and (arguments.run, arguments.process) != (None, None):
        parser.error("--run and --process belong to --follow")
    if arguments.follow:
        from minilingua.tracking.follow import follow

        follow(arguments.process, arguments.run)
        return 0

    from minilingua.tracking.rebuild import BEFORE, empty_store
    from minilingua.tracking.store import locked_store, store_uri
    from minilingua.tracking.sync import synchronise

    with empty_store() if arguments.rebuild else nullcontext(), locked_store() as store:
        outcome = synchronise(store, read_lineage(arguments.after))
    if arguments.rebuild:
        print(f"the store before is in {BEFORE}/")  # noqa: T201
    if not arguments.quiet:
        for name, status in outcome.runs.items():
            print(f"{name}  {status}")  # noqa: T201 - this is the program's output
        for line in outcome.skipped:
            print(f"left out: {line}")  # noqa: T201
        if not outcome.runs:
            print("nothing was trained here yet; `dvc repro` does it")  # noqa: T201
        print(f"look at it: {_where(store_uri(), store.experiment_id)}")  # noqa: T201
    return 0


def _where(uri: str, experiment_id: str) -> str:
    # Without the workflow a browser that has never been there opens the pages for prompts.
    page = f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"
    if uri.startswith("http"):
        return f"{uri.rstrip('/')}/{page}"
    return f"`mlflow ui`, then http://127.0.0.1:5000/{page}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minilingua track",
        description="Bring MLflow up to date with every training in runs/ and with reports/. "
        "Doing it again adds nothing. The store is mlruns/ or what MLFLOW_TRACKING_URI names.",
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.add_argument(
        "--follow", action="store_true", help="keep on until the running training ends"
    )
    parser.add_argument(
        "--rebuild",
        action="store_true",
        help="make the store in mlruns/ anew from runs/ and reports/; the one before is kept aside",
    )
    parser.add_argument(
        "--run",
        type=Path,
        metavar="DIRECTORY",
        help="with --follow: its run directory (default: the current one)",
    )
    parser.add_argument(
        "--process",
        type=int,
        metavar="ID",
        help="with --follow: the process whose end is the end of the training (default: the one "
        "that locks the run directory)",
    )
    parser.add_argument(
        "--after",
        choices=("convert", "evaluate"),
        help="the stage that has just ended, whose outputs DVC is about to record",
    )
    return parser
