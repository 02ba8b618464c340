"""What keeps a training from computing: waiting for data, and states that are saved meanwhile.

data    the share of a step that it waits for its micro batches
saves   a state is begun and steps are trained until it is written and checked: what those steps
        took longer than one without it does, the copy that training waits for included; as a share
        of an interval of 100 steps
"""

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import WHOLE, Parts, Timings, begin, interleave
from benchmarks.line import compose, line
from benchmarks.models import (
    SHAPES,
    Shape,
    add_models,
    make_engine,
    models_of,
    random_weights,
    share_of_repetitions,
)
from benchmarks.options import output_of, parser
from benchmarks.results import Result, Row, report, row

if TYPE_CHECKING:
    from benchmarks.line import Line
    from minilingua.params import Params
    from minilingua.training.engine import Engine

WARMUPS = 2
DATA_SHARE, SAVE_SHARE, INTERVAL = 0.02, 0.05, 100
"""Of a step; of an interval; steps of it."""
_KEY = "benchmark"
_DATA, _STEPS, _WAITED = "data", "steps", "waited"


@dataclass(slots=True, kw_only=True)
class Trained:
    """An engine that goes on training."""

    engine: "Engine"
    directory: Path
    steps: int = 0
    bytes: int = 0

    def step(self, _: int = 0) -> Parts:
        """Trains a step."""
        began = time.perf_counter()
        self.engine.train_step(self.steps % self.engine.train.plan.steps + 1)
        self.steps += 1
        return {WHOLE: time.perf_counter() - began, _DATA: self.engine.clock.data}

    def save(self, _: int) -> Parts:
        """Saves a state and trains until it counts; the one before is deleted off the clock."""
        from minilingua.training.checkpoint import Progress
        from minilingua.training.saving import Saver

        shutil.rmtree(self.directory, ignore_errors=True)
        saver = Saver(directory=self.directory, run_key=_KEY)
        began = time.perf_counter()
        saver.begin(self.engine, Progress(step=self.steps, history=()))
        waited = time.perf_counter() - began
        steps = 0
        while (saved := saver.poll()) is None:
            self.step()
            steps += 1
        self.bytes = saved.bytes
        return {WHOLE: time.perf_counter() - began, _WAITED: waited, _STEPS: steps}


def measure(
    name: str, shape: Shape, params: "Params", data: "Line", repetitions: int
) -> tuple[list[Row], int]:
    """Measures one model; returns its rows, and the most steps that a state was written for."""
    from benchmarks.layouts import arrange

    documents = arrange("packed", data, steps=1, vocab_size=shape.vocab_size)
    train = params.train.model_copy(update={"micro_batch": documents.packs_per_step})
    params = params.model_copy(update={"train": train})
    weights = random_weights(shape, params)
    engine = make_engine(shape, params, weights, documents.split)
    trained = Trained(engine=engine, directory=data.scratch / f"states-{name}")
    timings = interleave(
        {"step": trained.step, "save": trained.save},
        repetitions=repetitions,
        warmups=WARMUPS,
        label=name,
    )
    steps, saves = timings.seconds["step"], timings.seconds["save"]
    data_row = _row(
        f"{name}: waiting for data",
        f"{DATA_SHARE:.0%} of the step",
        [part[_DATA] for part in steps],
        [DATA_SHARE * part[WHOLE] for part in steps],
    )
    longer = [
        max(save[_WAITED], save[WHOLE] - save[_STEPS] * step[WHOLE])
        for step, save in zip(steps, saves, strict=True)
    ]
    save_row = _row(
        f"{name}: what a state ({trained.bytes / 1e6:.0f} MB) adds to the steps meanwhile",
        f"{SAVE_SHARE:.0%} of {INTERVAL} steps",
        longer,
        [SAVE_SHARE * INTERVAL * part[WHOLE] for part in steps],
    )
    return [data_row, save_row], int(max(save[_STEPS] for save in saves))


def _row(case: str, against: str, found: Sequence[float], aimed: Sequence[float]) -> Row:
    timings = Timings(
        seconds={
            "ours": [{WHOLE: seconds} for seconds in found],
            "aim": [{WHOLE: seconds} for seconds in aimed],
        }
    )
    return row(timings, case, against, ours="ours", theirs="aim", measure="time", target=1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    arguments = parser("training_waits", __doc__, repetitions=25)
    add_models(arguments)
    options = arguments.parse_args(argv)
    settings = begin(options.threads)
    models = models_of(options)

    import torch

    from minilingua.megatron_model.megatron import quiet
    from minilingua.megatron_model.parallel import one_rank

    torch.set_num_threads(settings["threads"])
    experiment = f"experiment={'smoke' if options.short else 'sample'}"
    rows: list[Row] = []
    meanwhile: dict[str, int] = {}
    with line(compose([experiment]), ready=options.line) as data, one_rank(), quiet():
        for name in models:
            shape = SHAPES[name]
            params = compose([experiment, f"model={shape.preset}", "train.lr=3e-4"])
            repetitions = share_of_repetitions(shape, options)
            measured, meanwhile[name] = measure(name, shape, params, data, repetitions)
            rows += measured
    report(
        Result(
            benchmark="training_waits",
            claim="What keeps a training from computing, against what is aimed at.",
            settings={**settings, "warmups": WARMUPS, "models": list(models)},
            checks={"most_steps_while_a_state_is_written": meanwhile},
            rows=rows,
        ),
        output_of(options),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
