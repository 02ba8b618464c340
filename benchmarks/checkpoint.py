"""Saving and loading a training's state and its weights, against plain files of as many bytes.

A plain file is written in one go, flushed to the disk (fsync) and renamed, as ours are; it is read
in one go. Ours also takes model and optimizer apart, computes SHA-256 sums and checks them, and
puts what it reads into the model. Files are read right after they were written, from memory.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import WHOLE, Parts, Side, begin, interleave
from benchmarks.line import compose, line
from benchmarks.models import SHAPES, Shape, add_models, make_engine, models_of, random_weights
from benchmarks.options import output_of, parser, repetitions_of
from benchmarks.results import Result, Row, report, row
from minilingua.core.files import write_bytes

if TYPE_CHECKING:
    from benchmarks.line import Line
    from minilingua.params import Params
    from minilingua.training.engine import Engine

_KEY = "benchmark"
_LOAD = "load"


@dataclass(slots=True, kw_only=True)
class Plain:
    """Plain files with as many bytes as ours."""

    data: bytes
    path: Path

    def write(self, _: int) -> Parts:
        """Writes the bytes to the disk."""
        return {WHOLE: _seconds(lambda: write_bytes(self.path, self.data))}

    def read(self, _: int) -> Parts:
        """Reads them."""
        seconds = _seconds(self.path.read_bytes)
        return {WHOLE: seconds, _LOAD: seconds}


@dataclass(slots=True, kw_only=True)
class State:
    """The state for resuming: weights, moments, schedule."""

    engine: "Engine"
    directory: Path
    bytes: int = 0
    written: int = 0

    def save(self, _: int) -> Parts:
        """Saves one more state; the one before is deleted off the clock."""
        from minilingua.training.checkpoint import Progress
        from minilingua.training.saving import save_checkpoint

        shutil.rmtree(self.directory, ignore_errors=True)
        self.written += 1
        progress = Progress(step=self.written, history=())
        began = time.perf_counter()
        self.bytes = save_checkpoint(self.engine, progress, self.directory, _KEY)
        return {WHOLE: time.perf_counter() - began}

    def load(self, _: int) -> Parts:
        """Checks every file of the latest state and loads it."""
        from minilingua.training.checkpoint import latest_checkpoint, load_checkpoint

        began = time.perf_counter()
        path = latest_checkpoint(self.directory, _KEY)
        assert path is not None
        checked = time.perf_counter()
        load_checkpoint(self.engine, path)
        ended = time.perf_counter()
        return {WHOLE: ended - began, _LOAD: ended - checked}


@dataclass(slots=True, kw_only=True)
class Weights:
    """The weights alone, as safetensors."""

    engine: "Engine"
    directory: Path

    def save(self, _: int) -> Parts:
        """Copies the weights out of the model and writes them, as after an improvement."""
        from minilingua.megatron_model.weights import read_tensors
        from minilingua.training.run_directory import RunDirectory

        run = RunDirectory(path=self.directory)
        return {
            WHOLE: _seconds(
                lambda: run.save_best(1, read_tensors(self.engine.model, self.engine.params.model))
            )
        }

    @property
    def file(self) -> Path:
        """What ``save`` writes."""
        return self.directory / "best/step_00000001.safetensors"

    def load(self, _: int) -> Parts:
        """Reads them and copies them into the model."""
        from safetensors.torch import load_file

        from minilingua.megatron_model.weights import load_tensors

        model, params = self.engine.model, self.engine.params.model
        return {WHOLE: _seconds(lambda: load_tensors(model, load_file(self.file), params))}


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    del result
    return seconds


def measure(
    name: str, shape: Shape, params: "Params", data: "Line", repetitions: int
) -> tuple[list[Row], dict[str, int]]:
    """Measures one model; returns its rows and the bytes of its files."""
    from benchmarks.layouts import arrange

    documents = arrange("packed", data, steps=1, vocab_size=shape.vocab_size)
    engine = make_engine(shape, params, random_weights(shape, params), documents.split)
    engine.train_step(1)  # so that the optimizer has its moments
    state = State(engine=engine, directory=data.scratch / "checkpoints")
    weights = Weights(engine=engine, directory=data.scratch / "run")
    state.save(0)
    weights.save(0)
    sizes = {"state": state.bytes, "weights": weights.file.stat().st_size}
    rows: list[Row] = []
    for what, ours in (("state", state), ("weights", weights)):
        plain = Plain(
            data=os.urandom(1 << 20) * (sizes[what] >> 20 or 1), path=data.scratch / "plain"
        )
        megabytes = f"{sizes[what] / 1e6:.0f} MB"
        case = f"{name}, {what} ({megabytes})"

        def compare(verb: str, side: Side, theirs: Side, case: str = case) -> list[Row]:
            timings = interleave(
                {"ours": side, "plain": theirs}, repetitions=repetitions, label=f"{case}, {verb}"
            )
            parts = [WHOLE, _LOAD] if _LOAD in timings.seconds["ours"][0] else [WHOLE]
            return [
                row(
                    timings,
                    f"{case}: {verb}" + (" without its check" if part == _LOAD else ""),
                    "plain file, written and flushed" if verb == "save" else "plain file, read",
                    ours="ours",
                    theirs="plain",
                    part=part,
                )
                for part in parts
            ]

        rows += compare("save", ours.save, plain.write)
        rows += compare("load", ours.load, plain.read)
    return rows, sizes


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    arguments = parser("checkpoint", __doc__, repetitions=15)
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
    sizes: dict[str, dict[str, int]] = {}
    with line(compose([experiment]), ready=options.line) as data, one_rank(), quiet():
        for name in models:
            shape = SHAPES[name]
            params = compose([experiment, f"model={shape.preset}"])
            measured, sizes[name] = measure(name, shape, params, data, repetitions_of(options))
            rows += measured
    report(
        Result(
            benchmark="checkpoint",
            claim="States and weights against plain files of as many bytes.",
            settings={**settings, "models": list(models)},
            checks={"bytes": sizes},
            rows=rows,
        ),
        output_of(options),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
