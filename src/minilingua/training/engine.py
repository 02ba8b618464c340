"""The engine: model, data parallelism, optimizer and schedule, and one optimizer step with them."""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, distributed

from minilingua.core.errors import DataError, MiniLinguaError
from minilingua.core.events import StepEvent
from minilingua.core.seeding import derive_seed
from minilingua.megatron_model.backends import Backend
from minilingua.megatron_model.build import BuildOptions, PackedGPTModel, build_model
from minilingua.megatron_model.megatron import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    Float16Module,
    finalize_model_grads,
    get_forward_backward_func,
    parallel_state,
)
from minilingua.megatron_model.parallel import seed_random_states
from minilingua.megatron_model.weights import load_tensors, read_tensors
from minilingua.params import ParallelParams, Params
from minilingua.training.data import MicroBatch, PlannedSplit
from minilingua.training.flops import StepWork
from minilingua.training.fully_sharded import FullyShardedDataParallel
from minilingua.training.loss import forward_step
from minilingua.training.optimizer import build_optimizer, build_scheduler
from minilingua.training.optimizer_state import read_weight


class DivergenceError(MiniLinguaError):
    """A loss or gradient is not a finite number."""


@dataclass(slots=True)
class StepClock:
    """Where the time of the last step went, seconds; the rest is bookkeeping.

    A GPU works on while the next micro batch is made, so that ``data`` is the most that it can have
    waited. Before the clock is read it has done all that it was given.
    """

    data: float = 0.0
    """Waiting for micro batches to be made."""
    compute: float = 0.0
    """Forward and backward, the exchange of gradients included."""
    optimizer: float = 0.0
    """Clipping and update."""
    work: StepWork = field(default_factory=lambda: StepWork(tokens=0, targets=0, squared_lengths=0))
    """Of all ranks."""

    def waiting(self, batches: Iterator[MicroBatch]) -> Iterator[MicroBatch]:
        """Yields the micro batches and counts the time that each takes to come."""
        while True:
            began = time.perf_counter()
            batch = next(batches, None)
            self.data += time.perf_counter() - began
            if batch is None:
                return
            yield batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Everything that trains. The step number is the caller's."""

    params: Params
    model: PackedGPTModel
    parallel_model: Any
    """``model`` inside what exchanges gradients, as Megatron's schedules take it."""
    places: Mapping[str, Any]
    """Parameter ─► where it lies in the whole model, as Megatron's checkpoints say it."""
    optimizer: Any
    scheduler: Any
    train: PlannedSplit
    rank: int
    """Data-parallel rank of this process."""
    ranks: int
    """Number of data-parallel ranks."""
    clock: StepClock = field(default_factory=StepClock)

    def train_step(self, step: int) -> StepEvent:
        """Trains step ``step``, counted from 1, which is the plan's step ``step - 1``.

        Raises:
            DataError: no token of the step is supervised.
            DivergenceError: the loss or the gradient is not finite.
        """
        clock, began = self.clock, time.perf_counter()
        contents = self.train.contents(step - 1)
        clock.work, clock.data = contents.work, time.perf_counter() - began
        if contents.supervised_tokens == 0:
            raise DataError(f"data/plan: step {step} has no supervised token to learn from")
        train = self.params.train
        share: dict[str, int] = {"ranks": self.ranks, "packs_joined": train.micro_batch}
        self._seed(step)
        self.parallel_model.zero_grad_buffer()
        self.optimizer.zero_grad()
        logged = get_forward_backward_func()(
            forward_step_func=forward_step,
            data_iterator=clock.waiting(
                self.train.micro_batches(step - 1, rank=self.rank, **share)
            ),
            model=[self.parallel_model],
            num_microbatches=self.train.number_of_micro_batches(step - 1, **share),
            seq_length=1,  # of no effect without pipeline stages
            micro_batch_size=1,
            forward_only=False,
        )
        loss = self._sum_of(logged) / contents.supervised_tokens
        if not math.isfinite(loss):
            raise DivergenceError(f"step {step}: the loss is {loss}; a lower train.lr may help")
        computed = time.perf_counter()
        clock.compute = computed - began - clock.data
        self.scheduler.step(1)
        _, grad_norm, _ = self.optimizer.step()
        if not math.isfinite(grad_norm):
            raise DivergenceError(
                f"step {step}: the gradient's norm is {grad_norm}; a lower train.lr may help"
            )
        if self.train.device is not None and self.train.device.type == "cuda":
            torch.cuda.synchronize(self.train.device)  # the update would count as the next step's
        clock.optimizer = time.perf_counter() - computed
        return StepEvent(
            step=step,
            loss=loss,
            learning_rate=float(self.optimizer.param_groups[0]["lr"]),
            grad_norm=float(grad_norm),
            tokens=contents.tokens,
            supervised_tokens=contents.supervised_tokens,
            conversations=contents.conversations,
            sample_digest=contents.sample_digest,
            packs_without_targets=contents.packs_without_targets,
        )

    def _seed(self, step: int) -> None:
        """Gives dropout its random numbers of this step.

        They follow from seed, step and rank alone, so that no random state has to be saved.
        """
        if self.params.train.hidden_dropout or self.params.train.attention_dropout:
            stage = parallel_state.get_pipeline_model_parallel_rank()
            # Other rows, other random numbers: those of another pack, and of another chunk.
            rank = parallel_state.get_data_parallel_rank(with_context_parallel=True)
            seed_random_states(derive_seed(self.params.seed, "dropout", step, rank, stage))

    def _sum_of(self, logged: list[dict[str, Tensor]]) -> float:
        """Returns the sum of the losses over all micro batches and ranks, on every rank."""
        parts = [part["losses"].double().sum() for part in logged]  # none before the last stage
        total = torch.stack(parts).sum() if parts else self._zeros(())
        return float(self.sum_over_ranks(total))

    def sum_over_ranks(self, value: Tensor) -> Tensor:
        """Returns the sum, over data- and context-parallel ranks, of what last stages hold."""
        group = parallel_state.get_data_parallel_group(with_context_parallel=True)
        if distributed.get_world_size(group) > 1:
            distributed.all_reduce(value, group=group)
        if parallel_state.get_pipeline_model_parallel_world_size() > 1:
            distributed.broadcast(
                value,
                src=parallel_state.get_pipeline_model_parallel_last_rank(),
                group=parallel_state.get_pipeline_model_parallel_group(),
            )
        return value

    def _zeros(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.train.device)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Has all weights in place for the block, in which ranks need not call the model alike.

        With overlap, a distributed optimizer's new weights otherwise arrive during the next forward
        pass, when every data-parallel rank makes one.
        """
        if not self.parallel_model.ddp_config.overlap_param_gather:
            yield
            return
        self.parallel_model.disable_forward_pre_hook(param_sync=True)
        try:
            yield
        finally:
            self.parallel_model.enable_forward_pre_hook()

    def weights(self) -> dict[str, Tensor]:
        """Returns the weights as full, unpadded fp32 tensors on the CPU; complete on rank 0.

        All ranks call it together.
        """
        return read_tensors(
            self.model, self.params.model, lambda parameter: read_weight(self.optimizer, parameter)
        )


def build_engine(
    params: Params,
    tensors: Mapping[str, Tensor],
    *,
    vocab_size: int,
    backend: Backend,
    train: PlannedSplit,
) -> Engine:
    """Builds the model with its weights, its optimizer and its schedule.

    Megatron's model-parallel state has to be initialised.

    Raises:
        CheckpointError: the tensors do not have the shape of ``params.model``.
        ParamsError: the learning-rate schedule contradicts itself.
    """
    options = BuildOptions(
        attention=backend,
        precision=params.train.precision,
        hidden_dropout=params.train.hidden_dropout,
        attention_dropout=params.train.attention_dropout,
        deterministic=params.train.profile == "bitwise",
        recompute=params.train.recompute,
        sequence_parallel=params.train.parallel.sequence,
    )
    model = build_model(params.model, vocab_size, options).to(train.device)
    load_tensors(model, tensors, params.model)
    places = _places(model)
    parallel_model = _in_parallel(model, params.train.parallel)
    optimizer = build_optimizer(parallel_model, params.train)
    return Engine(
        params=params,
        model=model,
        parallel_model=parallel_model,
        places=places,
        optimizer=optimizer,
        scheduler=build_scheduler(optimizer, params.train, train.plan.steps),
        train=train,
        rank=parallel_state.get_data_parallel_rank(),
        ranks=parallel_state.get_data_parallel_world_size(),
    )


def _places(model: PackedGPTModel) -> dict[str, Any]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(place.data)]: replace(place, data=None)
        for place in model.sharded_state_dict().values()
        if id(place.data) in names
    }


def _in_parallel(model: PackedGPTModel, parallel: ParallelParams) -> Any:
    """Returns the model inside what exchanges gradients."""
    config = model.config
    config.finalize_model_grads_func = finalize_model_grads
    if parallel.fully_sharded:
        return FullyShardedDataParallel(config, model)
    wrapped = DistributedDataParallel(
        config,
        DistributedDataParallelConfig(
            grad_reduce_in_fp32=True,
            use_distributed_optimizer=parallel.distributed_optimizer,
            overlap_grad_reduce=parallel.overlap,
            overlap_param_gather=parallel.overlap and parallel.distributed_optimizer,
        ),
        Float16Module(config, model) if config.bf16 else model,
    )
    if parallel.overlap:
        config.no_sync_func = wrapped.no_sync
    return wrapped
