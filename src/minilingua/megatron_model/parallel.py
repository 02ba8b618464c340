"""Process groups: one process without a network port, or what torchrun started."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import distributed
from torch._C._distributed_c10d import HashStore

from minilingua.megatron_model.megatron import (
    model_parallel_cuda_manual_seed,
    parallel_state,
)


def initialise(seed: int) -> None:
    """Joins the processes of this run and seeds Megatron's random states.

    Under torchrun (RANK and WORLD_SIZE are set) all processes are data-parallel ranks. Otherwise
    this process is alone; it opens no port, so any number of them can run on one machine.
    """
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "nccl"
        torch.cuda.set_device(local_device())
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        distributed.init_process_group(backend)
    else:
        distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    parallel_state.initialize_model_parallel()
    seed_random_states(seed)


def local_device() -> torch.device:
    """Returns the device of this process: its GPU, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def seed_random_states(seed: int) -> None:
    """Seeds torch's generator and Megatron's tracker, both of this process."""
    torch.manual_seed(seed)
    model_parallel_cuda_manual_seed(seed % 2**31, force_reset_rng=True)


def shut_down() -> None:
    """Leaves what ``initialise`` joined."""
    parallel_state.destroy_model_parallel()
    distributed.destroy_process_group()


@contextmanager
def one_rank(seed: int = 0) -> Iterator[None]:
    """Model-parallel state of this process alone for the block, unless there is one already."""
    if parallel_state.model_parallel_is_initialized():
        yield
        return
    initialise(seed)
    try:
        yield
    finally:
        shut_down()
