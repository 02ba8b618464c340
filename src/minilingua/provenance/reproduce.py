"""``minilingua reproduce MODEL|RUN``: builds a model again and grades the result.

passport ─► commit and patch in a scratch clone ─► dvc.lock as it was? ─► dvc repro, from nothing
│
grade, first differing output ◄─ hashes, losses and scores, both sides ◄─────┘
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from minilingua.core.errors import DataError, ParamsError
from minilingua.core.files import read_json, write_json
from minilingua.provenance.contents import Contents
from minilingua.provenance.differences import Difference, compare, differing_outputs
from minilingua.provenance.environment import describe_environment
from minilingua.provenance.first_steps import grade_steps, train_steps, up_to
from minilingua.provenance.grading import Verdict, grade
from minilingua.provenance.passport import describe_attempts
from minilingua.provenance.restore import check_image, link_local_inputs, restore, say
from minilingua.provenance.scores import read_scores_of
from minilingua.provenance.seed_band import read_seed_band
from minilingua.provenance.state import NUMERIC, PASSPORT, State, environment_of, read_state
from minilingua.provenance.training_record import current_run, read_run

RELEASE = Path("models/release")
RESULT = "reproduction.json"
FETCH = "fetch"


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    found = argparse.ArgumentParser(
        prog="minilingua reproduce",
        description="Builds a model again from its passport: the commit (and patch) in a scratch "
        "clone, every stage from nothing, then hashes, losses and scores are compared. It takes "
        "as long as the model took; other raw data ends it before the training.",
    )
    found.add_argument(
        "model",
        nargs="?",
        metavar="MODEL|RUN",
        default=str(RELEASE),
        help=f"directory with {PASSPORT}, or the key, name or id of a run in MLflow (default: "
        f"{RELEASE})",
    )
    found.add_argument(
        "--until", metavar="STAGE", help="the last stage to run, such as pack (default: all)"
    )
    found.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="rebuild the data, train N steps here, and compare their losses and sample ids",
    )
    found.add_argument(
        "--directory",
        type=Path,
        help="an absent directory to build in, which stays (default: a temporary one)",
    )
    return found


def reproduce(model: Path, arguments: argparse.Namespace) -> int:
    """Rebuilds and grades; exit code 1 if the result is another one.

    Args:
        model: a passport, or a directory with one.
        arguments: of ``parser``.

    Raises:
        MissingInputError: there is no passport, or git does not know its commit.
        DataError: the passport does not tell enough, or its patch does not apply.
    """
    passport_path = model / PASSPORT if model.is_dir() else model
    passport = read_json(passport_path, made_by="minilingua release")
    expected = read_state(str(passport_path))
    if arguments.until is not None and arguments.until not in expected.stages:
        raise DataError(
            f"{passport_path} has no stage {arguments.until!r}; it has {', '.join(expected.stages)}"
        )
    if arguments.steps is not None:
        if arguments.until is not None:
            raise ParamsError("--steps trains what --until would leave out: give one of them")
        expected = up_to(expected, arguments.steps)
    with _directory(arguments.directory) as clone:
        restore(passport, clone)
        say(f"{expected.commit} restored in {clone}; dvc.lock is that of the passport")
        check_image(passport, clone)
        link_local_inputs(expected.params, clone)
        found, differing, verdict = _build(expected, passport_path.parent, clone, arguments)
        causes = _causes(expected, found, Contents.of([Path(), clone]))
        _print(expected, found, differing, verdict, causes)
        if arguments.directory is not None:
            result = {
                "passport": passport["run_key"],
                **asdict(verdict),
                "differing_outputs": differing,
                "differences": causes,
            }
            write_json(clone / RESULT, result)
    return 1 if verdict.grade == "different" else 0


def _build(
    expected: State, beside: Path, clone: Path, arguments: argparse.Namespace
) -> tuple[State, list[tuple[str, str]], Verdict]:
    """Runs the stages; returns what was found, which outputs differ, and the grade.

    ``beside``: where the passport lies, and the evaluation if it is known.
    """
    if FETCH in expected.stages:
        # Days of training are not to be spent on other data.
        rebuild(clone, [FETCH])
        found = _read(clone)
        if differing := list(differing_outputs(expected, found)):
            paths = ", ".join(path for _, path in differing)
            reason = f"the raw data is another ({paths}); nothing was built from it"
            return found, differing, Verdict(grade="different", reason=reason)
    if arguments.steps is not None:
        rebuild(clone, list(expected.stages))
        events = train_steps(clone, arguments.steps, _environment(clone))
        found = up_to(replace(_read(clone), events=events), arguments.steps)
        differing = list(differing_outputs(expected, found))
        return found, differing, grade_steps([path for _, path in differing], expected, found)
    if arguments.until != FETCH:
        rebuild(clone, [arguments.until] if arguments.until is not None else [])
    found = _read(clone)
    differing = list(differing_outputs(expected, found))
    scores = [
        read_scores_of(path)
        for path in (beside / "evaluation.json", clone / "reports/evaluation.json")
    ]
    verdict = grade(
        [path for _, path in differing],
        (expected.events, found.events),
        (scores[0], scores[1]),
        read_seed_band(expected.params),
    )
    if arguments.until is not None:
        verdict = replace(verdict, reason=f"{verdict.reason}, up to {arguments.until}")
    return found, differing, verdict


def _read(clone: Path) -> State:
    """Returns the state of a clone, with the stages that this machine has run."""
    state = read_state(str(clone))
    ran = {
        name: stage
        for name, stage in state.stages.items()
        if all((clone / path).exists() for path in stage.outs)
    }
    environment = {**describe_environment(), **state.environment}
    begun = current_run(root=clone)
    if "training" not in environment and begun is not None:  # stopped before it published anything
        environment |= environment_of(describe_attempts(read_run(begun)))
    return replace(state, stages=ran, environment=environment)


def _causes(expected: State, found: State, contents: Contents) -> list[str]:
    """Returns the differences, that which explains most first.

    Machines hardly ever are the same, and data stages do not compute with floating-point numbers:
    of another processor nothing follows for them, so it does not stand before their difference.
    """
    differences = compare(expected, found, contents)
    exact = [
        one
        for one in differences
        if one.kind in {"code", "parameters"} or (one.kind == "data" and _is_exact(expected, one))
    ]
    return [str(one) for one in [*exact, *(one for one in differences if one not in exact)]]


def _is_exact(state: State, difference: Difference) -> bool:
    makers = {path: name for name, stage in state.stages.items() for path in stage.outs}
    return makers.get(difference.what) not in NUMERIC


def rebuild(clone: Path, stages: Sequence[str]) -> None:
    """Runs stages of a clone, none of which has an output yet, and what they need; or all of them.

    Raises:
        DataError: a stage failed.
    """
    done = subprocess.run(  # noqa: S603 - our own program, no shell
        # A shared cache may know the outputs: they have to be made, not found.
        [sys.executable, "-m", "dvc", "repro", "--no-run-cache", *stages],
        cwd=clone,
        env=_environment(clone),
        check=False,
    )
    if done.returncode != 0:
        raise DataError(f"`dvc repro` in {clone} ended with exit code {done.returncode}")


def _environment(clone: Path) -> dict[str, str]:
    """Returns the environment in which a clone runs its own code."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(clone.absolute() / "src"),
        "MINILINGUA_TRACKING": "off",  # another line than the one that MLflow is told of
    }
    environment.pop("DVC_STAGE", None)
    return environment


@contextmanager
def _directory(chosen: Path | None) -> Iterator[Path]:
    if chosen is not None:
        if chosen.exists():
            raise DataError(f"--directory {chosen} exists; it has to be a new one")
        chosen.parent.mkdir(parents=True, exist_ok=True)
        yield chosen
        return
    with tempfile.TemporaryDirectory(prefix="minilingua-reproduce-") as parent:
        yield Path(parent) / "clone"


def _print(
    expected: State,
    found: State,
    differing: Sequence[tuple[str, str]],
    verdict: Verdict,
    causes: Sequence[str],
) -> None:
    wrong = dict(differing)
    for name in expected.stages:
        if name in found.stages:
            told = f"{wrong[name]} differs" if name in wrong else "same hashes"
            say(f"{name:<10} {told}")
    say(f"{verdict.grade}: {verdict.reason}")
    if verdict.grade != "bit-identical" and causes:
        say(f"first difference: {causes[0]}")
        for cause in causes[1:]:
            say(f"  then: {cause}")
