"""``minilingua diff A B``: what two states of the line differ in, causes first."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from minilingua.provenance.contents import Contents
from minilingua.provenance.differences import compare
from minilingua.provenance.state import State, read_state

_TITLES = {
    "code": "Code that a stage reads",
    "parameters": "Parameters",
    "environment": "Environment",
    "data": "Outputs of stages",
    "training": "Training",
    "results": "Results",
}


def main(argv: Sequence[str]) -> int:
    """Prints the differences; exit code 1 if there are any, as diff has it.

    Raises:
        MissingInputError: a state is not known.
        DataError: a state cannot be read.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua diff",
        description="Shows what two states of the line differ in, causes before effects: code, "
        "parameters, environment, outputs (sources, files and rows where the DVC cache still has "
        "them), the first diverging step of the training, results. A state is a released model "
        "or its passport.json, a checkout (such as .), a commit, or a run key.",
    )
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B", nargs="?", default=".", help="default: this checkout")
    parser.add_argument("--json", action="store_true", help="a list of differences")
    arguments = parser.parse_args(argv)
    a, b = read_state(arguments.a), read_state(arguments.b)
    found = compare(a, b, Contents.of([Path(), *roots_of(a, b)]))
    if arguments.json:
        print(json.dumps([asdict(one) for one in found], ensure_ascii=False, indent=2))  # noqa: T201
    elif not found:
        print(f"{a.name} and {b.name}: no difference in {_compared(a, b)}")  # noqa: T201
    else:
        for kind, group in groupby(found, key=lambda one: one.kind):
            print(_TITLES[kind])  # noqa: T201
            for one in group:
                print(f"  {one.what}: {one.detail}")  # noqa: T201
    return 1 if found else 0


def roots_of(*states: State) -> list[Path]:
    """Returns the checkouts among some states."""
    return [state.root for state in states if state.root is not None]


def _compared(a: State, b: State) -> str:
    parts = {
        "stages": a.stages and b.stages,
        "parameters": a.params and b.params,
        "environment": a.environment and b.environment,
        "training": a.events and b.events,
        "results": a.evaluation and b.evaluation,
    }
    return ", ".join(name for name, known in parts.items() if known) or "anything both tell"
