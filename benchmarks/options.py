"""The options that all benchmarks share."""

import argparse
from pathlib import Path

from benchmarks.results import RESULTS

SHORT = RESULTS / "short"
"""Where results of ``--short`` go: they are no measurements, and git ignores them."""


def parser(
    module: str, description: str | None, *, repetitions: int, reads_line: bool = True
) -> argparse.ArgumentParser:
    """Returns the parser of a benchmark.

    Args:
        module: name of the module below ``benchmarks``.
        description: its docstring.
        repetitions: how often every side runs unless told otherwise.
        reads_line: it takes its data from a line in which the stages have run.
    """
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--short",
        action="store_true",
        help="seconds instead of minutes: shows that it runs, measures nothing worth telling",
    )
    made.add_argument(
        "--repetitions",
        type=positive,
        help=f"how often every side runs (default: {repetitions}; 2 with --short)",
    )
    made.add_argument(
        "--threads", type=positive, default=2, help="cores that all may use (default: %(default)s)"
    )
    if reads_line:
        made.add_argument(
            "--line",
            type=Path,
            metavar="DIRECTORY",
            help="where the stages have run, such as the repository after `make repro`; it is only "
            "read (default: they run in a temporary directory first)",
        )
    made.add_argument(
        "--output",
        type=Path,
        help=f"directory of the results (default: {RESULTS.name}/ beside the benchmarks, "
        f"{RESULTS.name}/{SHORT.name}/ with --short)",
    )
    made.set_defaults(full_repetitions=repetitions)
    return made


def positive(text: str) -> int:
    """Returns a positive integer; argparse makes one line of the error."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def repetitions_of(options: argparse.Namespace) -> int:
    """Returns how often every side runs."""
    if options.repetitions is not None:
        return int(options.repetitions)
    return 2 if options.short else int(options.full_repetitions)


def output_of(options: argparse.Namespace) -> Path:
    """Returns the directory of the results."""
    if options.output is not None:
        return Path(options.output)
    return SHORT if options.short else RESULTS
