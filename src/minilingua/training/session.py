"""One process that trains: sets up, runs the loop, and tells of its beginning and end."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import distributed

from minilingua.core.errors import MiniLinguaError
from minilingua.core.events import EndEvent
from minilingua.core.machine import (
    IMAGE_DIGEST_VARIABLE,
    checked_out_commit,
    cpu_name,
    nvidia_driver,
)
from minilingua.core.runs import RUNS
from minilingua.llama_shapes import count_parameters
from minilingua.megatron_model.backends import choose_backend
from minilingua.megatron_model.layer_spec import row_multiple
from minilingua.megatron_model.megatron import quiet
from minilingua.megatron_model.parallel import (
    context_share,
    initialise,
    local_device,
    lost_ranks_told,
    shut_down,
)
from minilingua.params import Params, TrainParams
from minilingua.training.base import read_base
from minilingua.training.console import say
from minilingua.training.data import PlannedSplit, open_split
from minilingua.training.engine import Engine, build_engine
from minilingua.training.flops import peak_flops
from minilingua.training.inputs import SPLITS, TrainingInputs, check_ranks, read_inputs
from minilingua.training.layout import Layout
from minilingua.training.loop import TrainingLoop
from minilingua.training.preflight import check_disk, try_training
from minilingua.training.run_directory import RunDirectory
from minilingua.training.run_key import RunIdentity
from minilingua.training.stop_request import StopRequest


def train(
    params: Params,
    identity: RunIdentity,
    run: RunDirectory,
    end: EndEvent | None,
    layout: Layout,
    stop: StopRequest,
    *,
    is_writer: bool,
) -> EndEvent | None:
    """Trains from the latest state; returns how it ended, or None if it was asked to stop.

    Args:
        params: all parameters.
        identity: what the run key stands for.
        run: the run directory, locked by the writer.
        end: on the writer, how the training ended if it is finished already.
        layout: how the ranks share the training.
        stop: tells whether a stop was asked for; it is listening.
        is_writer: this is rank 0.

    Raises:
        MiniLinguaError: an input, a checkpoint or a parameter cannot be used.
    """
    inputs = read_inputs(params.model)
    check_ranks(inputs.plan.splits["train"], layout)
    if is_writer and end is None:
        run.describe(
            {
                "params": params.model_dump(mode="json"),
                "inputs": identity.inputs,
                "vocab_size": inputs.vocab_size,
                "tokenizer_digest": inputs.tokenizer_digest,
            }
        )
    _configure_torch(params.train)
    with quiet(), _process_group(params.seed, layout), lost_ranks_told():
        decided: list[EndEvent | None] = [end]
        if distributed.get_world_size() > 1:
            distributed.broadcast_object_list(decided)
        if decided[0] is not None:
            return decided[0]
        loop = _build_loop(params, inputs, run, stop, layout, is_writer=is_writer)
        if not is_writer:
            return loop.train()
        return _train_on_record(loop, inputs, layout)


def preflight(params: Params, layout: Layout, *, is_writer: bool) -> None:
    """Checks all that a training needs and tries its largest micro batch; writes nothing.

    Raises:
        MiniLinguaError: the training would not run.
    """
    inputs = read_inputs(params.model)
    check_ranks(inputs.plan.splits["train"], layout)
    disk = check_disk(params, inputs.vocab_size, RUNS)
    _configure_torch(params.train)
    with quiet(), _process_group(params.seed, layout), lost_ranks_told():
        engine, _ = _open(params, inputs, layout)
        found = try_training(engine, params, layout, disk)
    if is_writer:
        for line in found.lines():
            say(line)


@contextmanager
def _process_group(seed: int, layout: Layout) -> Iterator[None]:
    initialise(seed, tensor=layout.tensor, pipeline=layout.pipeline, context=layout.context)
    try:
        yield
    finally:
        shut_down()


def _configure_torch(train: TrainParams) -> None:
    torch.set_num_threads(train.threads)
    if not torch.cuda.is_available():
        return  # with a fixed number of threads, all the CPU kernels used here are deterministic
    if train.profile == "bitwise":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # TransformerEngine's own switch: Megatron refuses to build its attention without it.
        os.environ["NVTE_ALLOW_NONDETERMINISTIC_ALGO"] = "0"
        torch.use_deterministic_algorithms(True)  # noqa: FBT003 - its only argument
        # A debugging aid that costs a pass over every new tensor.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # set at run time
    else:
        torch.set_float32_matmul_precision("high")


def _build_loop(
    params: Params,
    inputs: TrainingInputs,
    run: RunDirectory,
    stop: StopRequest,
    layout: Layout,
    *,
    is_writer: bool,
) -> TrainingLoop:
    engine, validation = _open(params, inputs, layout)
    return TrainingLoop(
        engine=engine,
        validation=validation,
        run=run,
        stop=stop,
        is_writer=is_writer,
        peak=_peak(params.train.precision, layout),
    )


def _open(params: Params, inputs: TrainingInputs, layout: Layout) -> tuple[Engine, PlannedSplit]:
    """Returns the engine of this rank, and the validation split."""
    train = params.train
    backend = choose_backend(train.attention, train.precision, train.attention_dropout)
    base = read_base(params.model)

    opened = partial(
        open_split,
        inputs.plan,
        vocab_size=inputs.vocab_size,
        with_slots=backend == "sdpa",
        multiple=row_multiple(
            fp8=train.precision == "fp8", shared_by=layout.tensor if layout.sequence else 1
        ),
        share=context_share(),
        device=local_device(),
    )
    splits = {split: opened(split) for split in SPLITS}
    for name, split in splits.items():
        split.check_targets(name)
    engine = build_engine(
        params, base.tensors, vocab_size=base.vocab_size, backend=backend, train=splits["train"]
    )
    return engine, splits["validation"]


def _peak(precision: str, layout: Layout) -> float | None:
    if not torch.cuda.is_available():
        return None
    one = peak_flops(torch.cuda.get_device_name(), precision)
    return None if one is None else one * layout.ranks


def _train_on_record(loop: TrainingLoop, inputs: TrainingInputs, layout: Layout) -> EndEvent | None:
    engine, telemetry = loop.engine, loop.run.telemetry
    parameters = count_parameters(engine.params.model, inputs.vocab_size)
    telemetry.write(
        "start",
        host=platform.node(),
        pid=os.getpid(),
        job=os.environ.get("SLURM_JOB_ID"),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        commit=checked_out_commit(),
        cpu=cpu_name(),
        driver=nvidia_driver(),
        image_digest=os.environ.get(IMAGE_DIGEST_VARIABLE) or None,
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        world_size=layout.ranks,
        layout=layout.explain(),
        parameters=parameters,
        peak_flops=loop.peak,
    )
    _introduce(engine, parameters, layout)
    try:
        end = loop.train()
    except BaseException as error:
        # A loss that is not finite is told here; what is no error of ours may hold anything.
        message = str(error) if isinstance(error, MiniLinguaError) else None
        telemetry.write("end", status="failed", error=type(error).__name__, message=message)
        raise
    telemetry.write("end", status="preempted" if end is None else "finished")
    if end is None:
        say(f"stopped and saved at step {loop.progress.step}; start again to go on")
    return end


def _introduce(engine: Engine, parameters: int, layout: Layout) -> None:
    plan = engine.train.plan
    distinct = len(np.unique(plan.conversations))
    totals = engine.train.totals()
    say(
        f"{engine.params.model.name}: {parameters:,} parameters, attention {engine.model.backend}, "
        f"{engine.params.train.precision}, {engine.params.train.profile}; {layout.explain()}"
    )
    say(
        f"plan: {plan.steps} steps, about {totals.tokens // plan.steps:,} tokens "
        f"({totals.supervised_tokens // plan.steps:,} supervised) a step, "
        f"{len(plan.conversations) / distinct:.1f} epochs of {distinct:,} conversations"
    )
    if totals.conversations_without_targets:
        say(
            f"plan: {totals.conversations_without_targets:,} conversations have no supervised "
            "token; they are read and teach nothing"
        )
