"""The command ``minilingua compare LEFT RIGHT``: two runs item by item, with significance.

    LEFT, RIGHT ─► items.jsonl of each ─► table, reports/compare/LEFT..RIGHT/ (json, png)
                                                  └► MLflow, the page of `minilingua report`

A run is named by a directory that holds its evaluation, the key (or its beginning), name or id of
a run in MLflow, or a git revision whose evaluation DVC's cache has; ``.`` is what lies in
``reports/``, and ``base`` the base model of the right side. Left and right may have other
tokenizers: accuracies and bits per byte compare all the same, losses per token do not.
"""

import argparse
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from minilingua.core.errors import DataError, MissingInputError, ParamsError, did_you_mean
from minilingua.core.files import read_jsonl, sha256_file, staged_directory, write_json
from minilingua.core.records import ItemResult, ModelName
from minilingua.evaluation.comparison import Compared, compare
from minilingua.evaluation.metrics import METRICS
from minilingua.evaluation.plot import write_comparison_plot
from minilingua.evaluation.report import difference_table, language_table, table_console
from minilingua.params_file import load_params
from minilingua.provenance.lineage import COMPARED, SIDES
from minilingua.tracking.named_runs import find_named, names_of, trainings
from minilingua.tracking.store import Store, locked_store

if TYPE_CHECKING:
    from mlflow.entities import Run

ITEMS = Path("reports/evaluation/items.jsonl")
ARTIFACT = "evaluation/items.jsonl"
_BASE, _HERE = "base", "."
_PLACES = ("items.jsonl", ARTIFACT, ITEMS.as_posix())
"""Where a directory may hold the items."""


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit code.

    Raises:
        MissingInputError: a run cannot be found, or has no evaluation.
        DataError: the two have no item in common, or one has unknown metrics.
        ParamsError: ``--output`` is there and no comparison, which would be lost.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua compare",
        description="Compare the evaluations of two runs, question by question: differences per "
        "language with 95 % bootstrap intervals and paired tests, corrected for the number of "
        "languages.",
        epilog="A run is a directory, a key, name or id in MLflow, or a git revision; '.' is "
        "reports/ and 'base' the base model of the other side.",
    )
    parser.add_argument("left", metavar="LEFT", help="what is compared with")
    parser.add_argument("right", metavar="RIGHT", help="what is better or worse")
    parser.add_argument("--output", type=Path, help=f"directory (default: {COMPARED}/LEFT..RIGHT)")
    parser.add_argument("--track", action="store_true", help="add it to RIGHT's run in MLflow")
    arguments = parser.parse_args(argv)
    names = (arguments.left, arguments.right)
    if names == (_BASE, _BASE):
        raise MissingInputError("base stands for the base model of the other side: name a run")
    if "" in names:
        raise MissingInputError("an empty name names no run; '.' is what lies in reports/")
    if (given := arguments.output) is not None and given.exists() and not (given / SIDES).exists():
        raise ParamsError(f"{given} exists and is no comparison; name another --output")
    left, left_digest = _items(*_side(names[0], names[1]))
    right, right_digest = _items(*_side(names[1], names[0]))
    params = load_params()
    compared = compare(left, right, seed=params.seed, resamples=params.evaluate.resamples)
    output = arguments.output or COMPARED / "..".join(map(_as_file_name, names))
    _write(compared, *names, (left_digest, right_digest), output)
    if arguments.track:
        _track(names, output)
    _print(compared, *names, output)
    return 0


def _as_file_name(name: str) -> str:
    return "reports" if name == _HERE else re.sub(r"[^\w.-]+", "_", name).strip("_.")


def _side(name: str, other: str) -> tuple[str, ModelName]:
    return (other, "base") if name == _BASE else (name, "result")


def _items(name: str, model: ModelName) -> tuple[list[ItemResult], str]:
    """Returns the results of one model of a run, and the SHA-256 of the file that has them.

    Raises:
        MissingInputError: there is no such run, or it has no evaluation.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = _find(name, Path(temporary))
        found = [result for result in read_jsonl(path, ItemResult) if result.model == model]
        digest = sha256_file(path)
    if not found:
        raise DataError(f"{name}: its evaluation has no results of the model {model!r}")
    for metric in sorted({metric for result in found for metric in result.values}):
        if metric not in METRICS:
            raise DataError(f"{name}: unknown metric {metric!r}{did_you_mean(metric, METRICS)}")
    return found, digest


def _find(name: str, temporary: Path) -> Path:
    if name == _HERE:
        if not ITEMS.exists():
            raise MissingInputError(f"{ITEMS} is missing; `minilingua evaluate` makes it")
        return ITEMS
    directory = Path(name)
    if directory.is_dir():
        for place in _PLACES:
            if (directory / place).exists():
                return directory / place
        raise MissingInputError(f"{name} holds no evaluation ({', '.join(_PLACES)})")
    with locked_store() as store:
        runs = trainings(store)
        found = find_named(runs, name)
        if found is not None:
            return _download(store, found, name, temporary)
    revision = _of_revision(name, temporary)
    if revision is None:
        known = sorted({text for run in runs for text in names_of(run)})
        raise MissingInputError(
            f"{name!r} is no directory, run or git revision with an evaluation"
            f"{did_you_mean(name, known)}"
        )
    return revision


def _download(store: Store, run: "Run", name: str, temporary: Path) -> Path:
    listed = {file.path for file in store.client.list_artifacts(run.info.run_id, "evaluation")}
    if ARTIFACT not in listed:
        raise MissingInputError(f"run {name} has no {ARTIFACT} in MLflow; `minilingua track`")
    return Path(store.client.download_artifacts(run.info.run_id, ARTIFACT, str(temporary)))


def _of_revision(name: str, temporary: Path) -> Path | None:
    """Returns the evaluation of a git revision out of DVC's cache or remote, or None."""
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException
    from dvc.scm import SCMError

    target = temporary / ITEMS.name
    try:
        DVCFileSystem(".", rev=name).get_file(ITEMS.as_posix(), str(target))
    except (DvcException, SCMError, OSError):
        return None
    return target


def _write(
    compared: Compared, left: str, right: str, digests: tuple[str, str], output: Path
) -> None:
    sides = {
        side: {"name": name, "items_sha256": digest}
        for side, name, digest in zip(("left", "right"), (left, right), digests, strict=True)
    }
    with staged_directory(output) as aside:
        write_json(aside / "comparison.json", [asdict(item) for item in compared.comparisons])
        write_json(aside / SIDES, sides)
        write_comparison_plot(aside / "comparison.png", compared.comparisons, left, right)


def _track(names: tuple[str, str], output: Path) -> None:
    """Adds the comparison to the run of the right side.

    Raises:
        MissingInputError: the right side is no run in MLflow.
    """
    with locked_store() as store:
        found = find_named(trainings(store), names[1])
        if found is None:
            raise MissingInputError(
                f"--track: {names[1]} is no run in MLflow; {output}/ is written"
            )
        store.client.log_artifacts(found.info.run_id, str(output), f"comparison/{output.name}")


def _print(compared: Compared, left: str, right: str, output: Path) -> None:
    console = table_console()
    console.print(
        language_table(compared.comparisons, left, right),
        difference_table(compared.comparisons, left, right),
    )
    if compared.only_left or compared.only_right:
        console.print(
            f"compared on what both answered; {compared.only_left} results are only of {left}, "
            f"{compared.only_right} only of {right}",
            markup=False,
        )
    console.print(f"{output}/comparison.json, {output}/comparison.png", markup=False)
