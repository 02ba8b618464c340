"""A training step of ours (Megatron, CPU backend ``sdpa``) against the same in transformers.

Both train the same weights on the same documents with the same AdamW, in fp32 and with the same
number of threads: forward, backward, clipping, update. Losses and gradient norms have to agree at
every step, or there is no result. Three layouts of the documents: the packs of the sample's plan
(in transformers: packed rows, a block-diagonal mask, positions that restart), conversations one a
row, padded, and documents of equal length without prompts.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from benchmarks.harness import WHOLE, Parts, Timings, begin, interleave
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
    from benchmarks.layouts import Documents
    from benchmarks.line import Line
    from benchmarks.transformers_side import TransformersTrainer
    from minilingua.params import Params
    from minilingua.training.engine import Engine

WARMUPS = 3
TOLERANCE = 1e-4
"""Largest relative difference of the losses; of the gradient norms, ten times as much."""
COMPUTE = "forward_backward"


TARGETS = {"packed": 1.5, "padded": 0.95, "equal": 0.95}
_DESCRIPTIONS = {
    "packed": "packed",
    "padded": "one conversation a row",
    "equal": "documents of equal length",
}


@dataclass(slots=True, kw_only=True)
class Duel:
    """Our engine and transformers, step by step on the same data."""

    engine: "Engine"
    clock: "OptimizerClock"
    theirs: "TransformersTrainer"
    documents: "Documents"
    losses: dict[str, dict[int, tuple[float, float]]] = field(
        default_factory=lambda: {"ours": {}, "transformers": {}}
    )
    """Side ─► step ─► loss and gradient norm."""
    largest_difference: float = 0.0
    """Of the losses so far, relative."""

    def ours(self, repetition: int) -> Parts:
        """Trains the next step with our engine."""
        self.clock.seconds = 0.0
        began = time.perf_counter()
        event = self.engine.train_step(repetition + 1)
        seconds = time.perf_counter() - began
        self._compare("ours", repetition, event.loss, event.grad_norm)
        return {WHOLE: seconds, COMPUTE: seconds - self.clock.seconds}

    def transformers(self, repetition: int) -> Parts:
        """Trains the next step with transformers; the batch is made before the clock starts."""
        batch = self.documents.batch(self.documents.split, repetition)
        outcome = self.theirs.step(repetition + 1, batch)
        self._compare("transformers", repetition, outcome.loss, outcome.grad_norm)
        return {WHOLE: outcome.seconds, COMPUTE: outcome.seconds - outcome.optimizer_seconds}

    def _compare(self, side: str, step: int, loss: float, norm: float) -> None:
        self.losses[side][step] = (loss, norm)
        if any(step not in known for known in self.losses.values()):
            return
        (ours, our_norm), (theirs, their_norm) = (known[step] for known in self.losses.values())
        difference = abs(ours / theirs - 1)
        self.largest_difference = max(self.largest_difference, difference)
        if difference > TOLERANCE or abs(our_norm / their_norm - 1) > 10 * TOLERANCE:
            raise SystemExit(
                f"the comparison is void: at step {step + 1} our loss is {ours:.6f} (gradient norm "
                f"{our_norm:.5f}), that of transformers {theirs:.6f} ({their_norm:.5f})"
            )


class OptimizerClock:
    """Megatron's optimizer, with a clock around its step: clipping and AdamW."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)

    def step(self) -> Any:
        """Steps."""
        began = time.perf_counter()
        result = self._optimizer.step()
        self.seconds += time.perf_counter() - began
        return result


def measure(
    shape: Shape, layout: Any, params: "Params", data: "Line", repetitions: int
) -> tuple[Timings, float]:
    """Measures one model on one layout; also returns the largest difference of the losses."""
    from benchmarks.layouts import arrange
    from benchmarks.transformers_side import TransformersTrainer

    documents = arrange(layout, data, steps=WARMUPS + repetitions, vocab_size=shape.vocab_size)
    train = params.train.model_copy(update={"micro_batch": documents.packs_per_step})
    params = params.model_copy(update={"train": train})
    weights = random_weights(shape, params)
    engine = make_engine(shape, params, weights, documents.split)
    clock = OptimizerClock(engine.optimizer)
    duel = Duel(
        engine=replace(engine, optimizer=clock),
        clock=clock,
        theirs=TransformersTrainer(weights, params.model, shape.vocab_size, train),
        documents=documents,
    )
    timings = interleave(
        {"ours": duel.ours, "transformers": duel.transformers},
        repetitions=repetitions,
        warmups=WARMUPS,
        label=f"{params.model.name} {layout}",
    )
    return timings, duel.largest_difference


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    arguments = parser("training_step", __doc__, repetitions=40)
    add_models(arguments)
    arguments.add_argument(
        "--layouts",
        nargs="+",
        choices=TARGETS,
        default=list(TARGETS),
        help="layouts (default: all)",
    )
    options = arguments.parse_args(argv)
    settings = begin(options.threads)
    models = models_of(options)

    import torch

    from benchmarks.line import compose, line
    from minilingua.megatron_model.megatron import quiet
    from minilingua.megatron_model.parallel import one_rank

    torch.set_num_threads(settings["threads"])
    experiment = "smoke" if options.short else "sample"
    rows: list[Row] = []
    differences: dict[str, float] = {}
    with (
        line(compose([f"experiment={experiment}"]), ready=options.line) as data,
        one_rank(),
        quiet(),
    ):
        for name in models:
            shape = SHAPES[name]
            # A rate at which random weights of every shape learn steadily.
            params = compose([f"experiment={experiment}", f"model={shape.preset}", "train.lr=3e-4"])
            repetitions = share_of_repetitions(shape, options)
            for layout in options.layouts:
                timings, difference = measure(shape, layout, params, data, repetitions)
                case = f"{name}, {_DESCRIPTIONS[layout]}"
                differences[case] = difference
                rows += _rows(timings, case, TARGETS[layout])
    report(
        Result(
            benchmark="training_step",
            claim="A training step against transformers (LlamaForCausalLM, sdpa, fused AdamW), "
            "fp32, CPU.",
            settings={
                **settings,
                "experiment": experiment,
                "warmups": WARMUPS,
                "models": list(models),
            },
            checks={
                "largest_relative_difference_of_losses": differences,
                "tolerance": TOLERANCE,
            },
            rows=rows,
        ),
        output_of(options),
    )
    return 0


def _rows(timings: Timings, case: str, target: float) -> list[Row]:
    return [
        row(
            timings,
            case if part == WHOLE else f"{case}: forward and backward only",
            "transformers",
            ours="ours",
            theirs="transformers",
            part=part,
            target=target if part == WHOLE else None,
        )
        for part in (WHOLE, COMPUTE)
    ]


if __name__ == "__main__":
    sys.exit(main())
