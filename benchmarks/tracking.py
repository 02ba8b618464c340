"""What tracking costs: reading a long training into MLflow, a training step, `status`, the UI.

Each figure is compared with the time that is aimed at, so a ratio of 1 is just met:

    ingest   50,000 steps, 100,000 records of events and telemetry, into an empty embedded store
    step     what the worker writes and samples in a step, against 1 % of the steps of a training
    status   the whole process
    ui       the request for the first page of runs to a real `mlflow ui`, with 200 trainings

It reads a repository in which a training ran (`--line`, default: this one).
"""

import contextlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tqdm import tqdm

from benchmarks.harness import Parts, Timings, begin, interleave, timed
from benchmarks.options import output_of, parser, repetitions_of
from benchmarks.results import Result, Row, report
from minilingua.core.events import StepEvent, TelemetryWriter, append_event, read_telemetry
from minilingua.core.files import dump_record
from minilingua.provenance.training_record import read_run
from minilingua.tracking.ingest import Ingester
from minilingua.tracking.store import locked_store
from minilingua.training.system_usage import INTERVAL_S, SystemMonitor
from tests.tracking.test_server import call, mlflow_ui
from tests.tracking.workspace import Workspace, telemetry_of, training_events

ROOT = Path(__file__).parents[1]
STEPS = {False: 50_000, True: 2_500}
TRAININGS = {False: 200, True: 3}
RECORDS = {False: 2_000, True: 50}
"""By whether it is short."""
INGEST_S, STATUS_S, PAGE_S, SHARE = 10.0, 1.0, 1.0, 0.01
_USAGE_SAMPLES = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    options = parser("tracking", __doc__, repetitions=5).parse_args(argv)
    settings = begin(options.threads)
    repository = (options.line or ROOT).resolve()
    step_s = _median_step(repository)
    short, repetitions = bool(options.short), repetitions_of(options)
    with TemporaryDirectory(prefix="minilingua-benchmark-") as name:
        directory = Path(name)
        empty = _empty_store(directory / "empty")
        with _ui(directory / "ui", empty, TRAININGS[short]) as page:
            timings = interleave(
                {
                    "status": timed(lambda: _status(repository)),
                    "page": timed(page),
                    "records": timed(lambda: _write_records(directory / "records", RECORDS[short])),
                    "usage": timed(_sample_usage),
                },
                repetitions=repetitions,
                label="tracking",
            )
        ingested = _ingest(directory, empty, STEPS[short], repetitions)
    written_s = timings.median_seconds("records") / RECORDS[short]
    sampled_s = timings.median_seconds("usage") / _USAGE_SAMPLES
    share = written_s / step_s + sampled_s / INTERVAL_S
    report(
        Result(
            benchmark="tracking",
            claim="What tracking costs, against what is aimed at.",
            settings={**settings, "steps": STEPS[short], "trainings": TRAININGS[short]},
            checks={
                "median_step_seconds": step_s,
                "records_of_a_step_seconds": written_s,
                "sample_of_the_system_seconds": sampled_s,
                "share_of_step_time": share,
            },
            rows=[
                _row(ingested, "ingest", f"{2 * STEPS[short]:,} records into MLflow", INGEST_S),
                Row(
                    case=f"what a step of {step_s:.2f} s writes and samples",
                    against=f"{SHARE:.0%} of the step",
                    measure="time",
                    ratio=round(share / SHARE, 4),
                    lower_quartile=round(share / SHARE, 4),
                    upper_quartile=round(share / SHARE, 4),
                    repetitions=repetitions,
                    seconds=round(written_s, 6),
                    target=1.0,
                ),
                _row(timings, "status", "minilingua status", STATUS_S),
                _row(timings, "page", f"first page of runs, {TRAININGS[short]} trainings", PAGE_S),
            ],
        ),
        output_of(options),
    )
    return 0


def _row(timings: Timings, side: str, case: str, aim_s: float) -> Row:
    aimed = Timings(seconds={**timings.seconds, "aim": [{"whole": aim_s}] * timings.repetitions})
    ratio = aimed.ratio(side, "aim")
    return Row(
        case=case,
        against=f"{aim_s:g} s",
        measure="time",
        ratio=round(ratio.median, 4),
        lower_quartile=round(ratio.lower_quartile, 4),
        upper_quartile=round(ratio.upper_quartile, 4),
        repetitions=timings.repetitions,
        seconds=round(timings.median_seconds(side), 4),
        target=1.0,
    )


def _median_step(repository: Path) -> float:
    seconds = [
        float(record["seconds"])
        for path in sorted(repository.glob("runs/*/telemetry.jsonl"))
        for record in read_telemetry(path)
        if record.get("kind") == "step"
    ]
    if not seconds:
        raise SystemExit(f"{repository}/runs holds no training; --line names a repository with one")
    return median(seconds)


def _empty_store(root: Path) -> Path:
    """Makes a database with MLflow's tables, which takes seconds and is not measured."""
    from mlflow import MlflowClient

    root.mkdir()
    MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db").search_experiments()
    return root / "mlflow.db"


def _workspace(root: Path, empty: Path) -> Workspace:
    (root / "mlruns").mkdir(parents=True)
    shutil.copy(empty, root / "mlruns/mlflow.db")
    (root / "mlflow.db").symlink_to("mlruns/mlflow.db")
    return Workspace(root=root)


def _ingest(directory: Path, empty: Path, steps: int, repetitions: int) -> Timings:
    """Reads one long training into a new store, each time."""
    lines = [
        (dump_record(event) + "\n", telemetry)
        for event, telemetry in telemetry_of(
            event for event in training_events(steps) if event.kind in {"step", "end"}
        )
    ]
    parts: list[Parts] = []
    for repetition in tqdm(range(repetitions), desc="ingest", unit="run", disable=None):
        workspace = _workspace(directory / f"ingest_{repetition}", empty)
        run = workspace.begin()
        (run / "events.jsonl").write_text("".join(event for event, _ in lines))
        workspace.add_telemetry("".join(telemetry for _, telemetry in lines))
        with contextlib.chdir(workspace.root), locked_store() as store:
            began = time.perf_counter()
            Ingester().ingest(store, read_run(run), alive=False)
            parts.append({"whole": time.perf_counter() - began})
        shutil.rmtree(workspace.root)
    return Timings(seconds={"ingest": parts})


def _status(repository: Path) -> None:
    command = [sys.executable, "-m", "minilingua", "status"]
    subprocess.run(command, cwd=repository, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def _write_records(directory: Path, steps: int) -> None:
    """Writes what the worker writes after each of some steps."""
    directory.mkdir(exist_ok=True)
    event = next(event for event in training_events(1) if isinstance(event, StepEvent))
    telemetry = TelemetryWriter(path=directory / "telemetry.jsonl", attempt=1)
    figures = {f"figure_{number}": 1.0 / (number + 1) for number in range(10)}
    for step in range(steps):
        append_event(directory / "events.jsonl", event)
        telemetry.write("step", step=step, **figures)


def _sample_usage() -> None:
    monitor = SystemMonitor(interval_s=0.0)
    for _ in range(_USAGE_SAMPLES):
        monitor.sample()


@contextlib.contextmanager
def _ui(root: Path, empty: Path, trainings: int) -> Iterator[Callable[[], None]]:
    """Yields the request for the first page, to a server of a store with some trainings."""
    workspace = _workspace(root, empty)
    with contextlib.chdir(root), locked_store() as store:
        for number in tqdm(range(trainings), desc="trainings", unit="run", disable=None):
            key = f"{number:016x}"
            workspace.train(run_key=key)
            Ingester().ingest(store, read_run(workspace.run_directory(key)), alive=False)
    with mlflow_ui(root) as address:
        name = "experiments/get-by-name?experiment_name=minilingua"
        experiment = call(address, name)["experiment"]["experiment_id"]
        asked = {
            "experiment_ids": [experiment],
            "max_results": 100,  # as the page asks
            "run_view_type": "ACTIVE_ONLY",
            "order_by": ["attributes.start_time DESC"],
        }

        def page() -> None:
            found = call(address, "runs/search", asked)["runs"]
            assert len(found) == min(100, 2 * trainings)  # and their attempts

        yield page


if __name__ == "__main__":
    sys.exit(main())
