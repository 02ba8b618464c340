"""``minilingua status``: stages, trainings, jobs and last results, in under a second."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minilingua.core.files import read_json
from minilingua.core.runs import RUNS
from minilingua.params_file import load_params
from minilingua.provenance.freshness import StageStatus, read_freshness
from minilingua.provenance.training_record import (
    Training,
    is_alive,
    read_run,
    run_directories,
)

SUMMARY = Path("reports/evaluation_summary.json")
PLAN = Path("data/plan/plan.json")
_LAST_RUNS = 3
_GREEN, _YELLOW, _PLAIN = "\033[32m", "\033[33m", "\033[0m"


def main(argv: Sequence[str]) -> int:
    """Prints the status.

    Raises:
        MissingInputError: there is no params.yaml or dvc.yaml here.
        ParamsError: params.yaml is not valid.
        DataError: a file cannot be read.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua status",
        description="Shows which stages are fresh, which are stale and why, the trainings, Slurm "
        "jobs and the last results. A quick look: of data only presence and size are compared; "
        "`dvc status` compares contents.",
    )
    parser.add_argument("--json", action="store_true", help="the same as JSON")
    arguments = parser.parse_args(argv)
    params = load_params()
    stages = read_freshness(params.model_dump(mode="json"))
    runs = [_describe(path) for path in reversed(run_directories()[-_LAST_RUNS:])]
    jobs = _jobs()
    results = read_json(SUMMARY) if SUMMARY.exists() else {}
    if arguments.json:
        told = {
            "experiment": params.experiment,
            "stages": [asdict(stage) for stage in stages],
            "runs": runs,
            "jobs": jobs,
            "results": results,
        }
        print(json.dumps(told, ensure_ascii=False, indent=2))  # noqa: T201
        return 0
    print("\n".join(_lines(params.experiment, stages, runs, jobs, results)))  # noqa: T201
    return 0


def _lines(
    experiment: str,
    stages: Sequence[StageStatus],
    runs: Sequence[Mapping[str, Any]],
    jobs: Sequence[Mapping[str, Any]],
    results: Mapping[str, Any],
) -> list[str]:
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    lines = [f"experiment {experiment}", ""]
    for stage in stages:
        word, colour = ("stale", _YELLOW) if stage.reasons else ("fresh", _GREEN)
        shown = f"{colour}{word}{_PLAIN}" if coloured else word
        lines.append(f"  {stage.name:<10} {shown}  {'; '.join(stage.reasons)}".rstrip())
    stale = [stage.name for stage in stages if stage.reasons]
    lines += ["", f"`dvc repro` runs {', '.join(stale)}" if stale else "nothing to run"]
    if runs:
        lines += ["", "trainings, the newest first"]
        lines += [f"  {run['run_key']}  {run['text']}" for run in runs]
    if jobs:
        lines += ["", "Slurm jobs of this checkout"]
        lines += [f"  {job['job']}  {job['stage']}, {job['text']}" for job in jobs]
    if results:
        lines += ["", "last results (reports/evaluation_summary.json)"]
        lines += _table(results)
    return lines


def _jobs() -> list[dict[str, Any]]:
    """Returns the jobs whose end nobody has been told yet, and what Slurm says of them."""
    if not any((RUNS / "jobs").glob("*/submission.json")):
        return []
    # Only where there are jobs: what knows of Slurm takes a fifth of a second to load.
    from minilingua.launch.submission import all_submissions, read_completion

    unsettled = [
        (directory, submission)
        for directory, submission in all_submissions()
        if submission.job is not None and not submission.is_settled
    ]
    jobs = []
    for directory, submission in unsettled:
        completion = read_completion(directory)
        if completion is not None and completion.job == submission.job:
            continue
        jobs.append(
            {"job": submission.job, "stage": submission.stage, "text": _of_job(submission.job)}
        )
    return jobs


def _of_job(job: int | None) -> str:
    from minilingua.launch.slurm import describe
    from minilingua.launch.slurm_client import SlurmUnreachableError, job_state

    assert job is not None
    try:
        state = job_state(job)
    except SlurmUnreachableError as error:
        return f"unknown ({error})"
    return describe(state) if state.is_live else f"{describe(state)}; `dvc repro` goes on from it"


def _describe(directory: Path) -> dict[str, Any]:
    training = read_run(directory)
    alive = is_alive(directory, training)
    status = training.status(alive=alive)
    return {
        "run_key": training.run_key,
        "experiment": training.experiment,
        "status": status,
        "step": training.last_step,
        "text": f"{training.experiment}, {status.lower()}, {_progress(training, alive=alive)}",
    }


def _progress(training: Training, *, alive: bool) -> str:
    parts = [f"step {training.last_step}"]
    if alive and PLAN.exists():
        steps = read_json(PLAN).get("figures", {}).get("train", {}).get("steps")
        if steps:
            parts = [f"step {training.last_step} of {steps}"]
    if training.attempts > 1:
        parts.append(f"attempt {training.attempts}")
    if decision := training.decision:
        parts.append(f"best validation loss {decision.best_loss:.4f} at {decision.best_step}")
    if end := training.end:
        parts.append(f"ended: {end.reason}")
    return ", ".join(parts)


def _table(results: Mapping[str, Any]) -> list[str]:
    """Returns a row for each figure, with a column for each model."""
    models = [name for name, figures in results.items() if isinstance(figures, Mapping)]
    figures = list(dict.fromkeys(key for model in models for key in results[model]))
    width = max(map(len, figures), default=0)
    rows = [" " * (width + 2) + "".join(f"{model:>10}" for model in models)]
    for key in figures:
        values = "".join(f"{_figure(results[model].get(key)):>10}" for model in models)
        rows.append(f"  {key:<{width}}{values}")
    return rows


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)
