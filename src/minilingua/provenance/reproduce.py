"""``minilingua reproduce MODEL``: builds a released model again and grades the result.

passport ─► commit and patch in a scratch clone ─► dvc.lock as it was? ─► dvc repro, from nothing
│
grade, first differing output ◄─ hashes, losses and scores, both sides ◄─────┘
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import read_json, write_json
from minilingua.provenance.contents import Contents
from minilingua.provenance.differences import compare, differing_outputs
from minilingua.provenance.git_state import git_output
from minilingua.provenance.grading import Verdict, grade
from minilingua.provenance.scores import read_scores_of
from minilingua.provenance.state import PASSPORT, State, read_state

RELEASE = Path("models/release")
RESULT = "reproduction.json"
_LOCAL_PATHS = (
    ("sources", "mirror"), ("sources", "benchmarks"), ("tokenizer", "path"), ("base", "path"),
)  # fmt: skip
"""Parameters that name what git does not have."""


def main(argv: Sequence[str]) -> int:
    """Rebuilds and grades; exit code 1 if the result is another one.

    Raises:
        MissingInputError: there is no passport, or git does not know its commit.
        DataError: the passport does not tell enough, or its patch does not apply.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua reproduce",
        description="Builds a model again from its passport: the commit (and patch) in a scratch "
        "clone, every stage from nothing, then hashes, losses and scores are compared. It takes "
        "as long as the model took.",
    )
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        default=RELEASE,
        help=f"directory with {PASSPORT} (default: {RELEASE})",
    )
    parser.add_argument(
        "--until", metavar="STAGE", help="the last stage to run, such as pack (default: all)"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        help="an absent directory to build in, which stays (default: a temporary one)",
    )
    arguments = parser.parse_args(argv)
    passport_path = arguments.model / PASSPORT if arguments.model.is_dir() else arguments.model
    passport = read_json(passport_path)
    expected = read_state(str(passport_path))
    if arguments.until is not None and arguments.until not in expected.stages:
        raise DataError(
            f"{passport_path} has no stage {arguments.until!r}; it has {', '.join(expected.stages)}"
        )
    with _directory(arguments.directory) as clone:
        restore(passport, clone)
        _say(f"{expected.commit} restored in {clone}; dvc.lock is that of the passport")
        _link_local_inputs(expected.params, clone)
        rebuild(clone, arguments.until)
        found = read_state(str(clone))
        differing = list(differing_outputs(expected, found))
        verdict = grade(
            [path for _, path in differing],
            (expected.events, found.events),
            (
                read_scores_of(arguments.model / "evaluation.json"),
                read_scores_of(clone / "reports/evaluation.json"),
            ),
        )
        contents = Contents.of([Path(), clone])
        causes = [str(one) for one in compare(expected, found, contents)]
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


def restore(passport: dict[str, Any], clone: Path) -> None:
    """Makes a clone of this repository in the state that a passport tells of.

    Raises:
        MissingInputError: git does not know the commit.
        DataError: the passport does not tell enough, its patch does not apply, or dvc.lock is not
            the one that it names.
    """
    code = passport["code"]
    commit = code["commit"]
    if commit is None:
        raise DataError("the passport names no commit: the model was not made in a git repository")
    if git_output("cat-file", "-e", f"{commit}^{{commit}}") is None:
        raise MissingInputError(f"git does not know the commit {commit}; `git fetch` may bring it")
    if code.get("untracked"):
        shown = ", ".join(code["untracked"][:3])
        _say(f"not restored, since git did not have them: {shown}")
    if code["patch_sha256"] is not None and code.get("patch") is None:
        raise DataError(
            f"the model was made from uncommitted changes ({', '.join(code['changed'][:3])}) that "
            "the passport does not hold: it cannot be rebuilt"
        )
    for command in (
        ("clone", "--quiet", "--shared", "--no-checkout", str(Path().absolute()), str(clone)),
        ("-C", str(clone), "checkout", "--quiet", "--detach", commit),
    ):
        if git_output(*command) is None:
            raise DataError(f"git {' '.join(command[:3])} .. failed")
    if code.get("patch"):
        patch = code["patch"].encode()
        if git_output("apply", "--whitespace=nowarn", "-", root=clone, given=patch) is None:
            raise DataError(f"the passport's patch does not apply to {commit}")
    lock = clone / "dvc.lock"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else None
    if digest != passport["pipeline"]["dvc_lock_sha256"]:
        raise DataError(f"dvc.lock of {commit} is not the one that the passport names")


def rebuild(clone: Path, until: str | None) -> None:
    """Runs the stages of a clone, none of which has an output yet.

    Raises:
        DataError: a stage failed.
    """
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(clone.absolute() / "src"),
        "MINILINGUA_TRACKING": "off",  # another line than the one that MLflow is told of
    }
    environment.pop("DVC_STAGE", None)
    targets = [until] if until is not None else []
    done = subprocess.run(  # noqa: S603 - our own program, no shell
        [sys.executable, "-m", "dvc", "repro", *targets], cwd=clone, env=environment, check=False
    )
    if done.returncode != 0:
        raise DataError(f"`dvc repro` in {clone} ended with exit code {done.returncode}")


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


def _link_local_inputs(params: dict[str, Any], clone: Path) -> None:
    for section, name in _LOCAL_PATHS:
        named = (params.get(section) or {}).get(name)
        if named and not Path(named).is_absolute() and Path(named).exists():
            link = clone / named
            if not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(Path(named).absolute())


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
            _say(f"{name:<10} {told}")
    _say(f"{verdict.grade}: {verdict.reason}")
    if differing and causes:
        _say(f"first difference: {causes[0]}")
        for cause in causes[1:]:
            _say(f"  then: {cause}")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is the program's output
