"""The command ``minilingua benchmarks``: the reference's benchmarks on base and result, offline.

    mirror ─► rows ─► lm-eval, a unit at a time ─► runs/benchmarks/<digest>.json ─► reports/

A unit is one task in one language and form, of one model. What is computed is kept under a digest
of all it depends on, so that a killed run goes on where it was and another task or language can be
added later. Reports hold what the last command asked for.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from minilingua.core.errors import MissingInputError, ParamsError, RunBusyError
from minilingua.core.files import write_json
from minilingua.core.records import ModelName
from minilingua.lm_benchmarks.benchmarks import BENCHMARKS
from minilingua.lm_benchmarks.contamination import flags_of
from minilingua.lm_benchmarks.jobs import (
    KEPT,
    MODELS,
    TOKENIZER,
    Job,
    digests_of,
    jobs_of,
    shots_of,
)
from minilingua.lm_benchmarks.report import DETAILS, SCORES, write_report
from minilingua.lm_benchmarks.tasks import load_tasks
from minilingua.lm_benchmarks.units import TASKS, Task, find_task, units_of
from minilingua.params import Params
from minilingua.params_file import load_params

_BATCH = 8


def main(argv: Sequence[str]) -> int:
    """Runs the command and returns its exit code.

    Raises:
        ParamsError: an unknown task, or a number that makes no sense.
        MissingInputError: lm-eval, a model or a file of the mirror is missing.
        DataError: a file of the mirror is not what its benchmark says.
        RunBusyError: another process runs benchmarks here.
    """
    arguments = _parser().parse_args(argv)
    if arguments.list:
        print(_listing())  # noqa: T201 - this is the program's output
        return 0
    # Before torch is loaded: threads that spin take the core from the one that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from minilingua.lm_benchmarks.harness import check_installed

    check_installed()
    for name in ("batch_size", "limit"):
        if (number := getattr(arguments, name)) is not None and number < 1:
            raise ParamsError(f"--{name.replace('_', '-')} {number}: it has to be positive")
    if arguments.shots is not None and arguments.shots < 0:
        raise ParamsError(f"--shots {arguments.shots}: it cannot be negative")
    if arguments.mirror is None:
        raise ParamsError("--mirror DIR has to name the directory of the benchmarks' files")
    if not arguments.mirror.is_dir():
        raise MissingInputError(f"{arguments.mirror} is no directory: --mirror names none")
    tasks = [find_task(name) for name in dict.fromkeys(arguments.task or TASKS)]
    _run(load_params(), tasks, arguments)
    return 0


def _run(params: Params, tasks: Sequence[Task], arguments: argparse.Namespace) -> None:
    from filelock import FileLock, Timeout

    units = units_of(tasks, params.languages)
    if not units:
        names = ", ".join(task.name for task in tasks)
        raise ParamsError(f"none of the languages of params.yaml is in {names}")
    models: list[ModelName] = list(dict.fromkeys(arguments.model or MODELS))
    digests = digests_of(models, units, arguments.mirror)
    jobs = jobs_of(params, models, units, digests, arguments)
    KEPT.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(KEPT / "lock", timeout=0):
            _compute(params, [job for job in jobs if not job.path.exists()], arguments)
    except Timeout as error:
        raise RunBusyError(f"{KEPT} is held by another `minilingua benchmarks`") from error
    flags = flags_of(units, arguments.mirror, arguments.limit)
    write_report(jobs, digests, flags, params)


def _compute(params: Params, jobs: Sequence[Job], arguments: argparse.Namespace) -> None:
    """Computes the jobs, model by model, and keeps each outcome as it comes."""
    from minilingua.lm_benchmarks.harness import Model, quiet

    by_model: defaultdict[ModelName, list[Job]] = defaultdict(list)
    for job in jobs:
        by_model[job.model].append(job)
    with tqdm(total=len(jobs), desc="benchmarks", unit=" units", disable=None) as bar:
        for name, of_model in by_model.items():
            path, made_by = MODELS[name]
            model = Model(
                path,
                TOKENIZER,
                made_by,
                batch_size=arguments.batch_size,
                device=arguments.device,
            )
            for job in of_model:
                bar.set_postfix_str(f"{name} {job.unit.label}")
                splits = BENCHMARKS[job.unit.task.benchmark].load(
                    arguments.mirror, job.unit.language
                )
                with quiet():
                    loaded = load_tasks(job.unit, splits)
                outcome = model.run(
                    loaded,
                    shots=shots_of(job.unit, arguments.shots),
                    limit=arguments.limit,
                    is_chat=job.unit.task.is_chat,
                    seed=params.seed,
                )
                write_json(job.path, {"depends_on": job.depends_on, **asdict(outcome)})
                bar.update()


def _listing() -> str:
    width = max(map(len, TASKS))
    lines = [f"  {task.name:<{width}}  {task.summary}" for task in TASKS.values()]
    lines += ["", "Files of a mirror, $flores being fin_Latn for Finnish:"]
    for benchmark in BENCHMARKS.values():
        lines += ["", f"  {benchmark.title}: {benchmark.origin}; licence: {benchmark.licence}"]
        lines += [f"    {name}" for name in benchmark.files]
        if benchmark.name == "mmlux":
            lines.append("    ($mmlux: FI; PT-PT for Portuguese)")
        lines.append(f"    languages: {' '.join(benchmark.languages)}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="minilingua benchmarks",
        description="Run the public benchmarks that the reference was scored on, by lm-eval, on "
        "models/base and models/hf, offline from a local mirror, in the languages of params.yaml. "
        f"Writes {SCORES} and {DETAILS}/. What was computed before is not computed again.",
    )
    parser.add_argument("--mirror", type=Path, help="directory of the benchmarks' files")
    parser.add_argument(
        "--task",
        action="append",
        metavar="NAME",
        help="a task (repeatable; default: all); --list shows them",
    )
    parser.add_argument(
        "--model", action="append", choices=list(MODELS), help="base or result (default: both)"
    )
    parser.add_argument(
        "--shots", type=int, help="examples in front of a question (default: the task's)"
    )
    parser.add_argument("--limit", type=int, help="questions a task at most: a try, no result")
    parser.add_argument(
        "--batch-size", type=int, default=_BATCH, help=f"prompts at once (default: {_BATCH})"
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="cuda computes in bfloat16"
    )
    parser.add_argument("--list", action="store_true", help="list tasks and files, and end")
    return parser
