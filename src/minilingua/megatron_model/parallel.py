"""Process groups: one process without a network port, or the ranks that somebody started.

RANK, WORLD_SIZE, LOCAL_RANK     as torchrun, Slurm's launcher or ``launch.ranks`` set them
MINILINGUA_RENDEZVOUS            file through which ranks on one machine find one another; without
                                 it MASTER_ADDR and MASTER_PORT say where, as with torchrun
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed
from torch._C._distributed_c10d import HashStore

from minilingua.core.errors import LostRankError
from minilingua.megatron_model.context import ContextShare
from minilingua.megatron_model.megatron import (
    model_parallel_cuda_manual_seed,
    parallel_state,
)

RENDEZVOUS_VARIABLE = "MINILINGUA_RENDEZVOUS"
_LOST = re.compile(
    "connection (closed|reset|refused)|broken pipe|timed? ?out|by peer|ncclRemoteError",
    re.IGNORECASE,
)
_TIMEOUT = timedelta(minutes=10)
"""How long a rank waits for another one: the bound for a rank that hangs without dying."""


def initialise(seed: int, *, tensor: int = 1, pipeline: int = 1, context: int = 1) -> None:
    """Joins the processes of this run and seeds Megatron's random states.

    Without RANK and WORLD_SIZE this process is alone; it opens no port, so any number of them can
    run on one machine.

    Args:
        seed: of this run.
        tensor: tensor-parallel ranks.
        pipeline: pipeline stages.
        context: context-parallel ranks. The ranks that are left are data-parallel.
    """
    backend = "gloo"
    if torch.cuda.is_available():
        backend = "nccl"
        torch.cuda.set_device(local_device())
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        rendezvous = os.environ.get(RENDEZVOUS_VARIABLE)
        distributed.init_process_group(
            backend,
            init_method=f"file://{rendezvous}" if rendezvous else "env://",
            rank=int(os.environ["RANK"]),
            world_size=int(os.environ["WORLD_SIZE"]),
            timeout=_TIMEOUT,
        )
    else:
        distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=tensor,
        pipeline_model_parallel_size=pipeline,
        context_parallel_size=context,
    )
    seed_random_states(seed)


@contextmanager
def lost_ranks_told() -> Iterator[None]:
    """Turns what the backends raise when another rank has ended into one line.

    Raises:
        LostRankError: an exchange failed for that reason.
    """
    try:
        yield
    except RuntimeError as error:
        alone = not distributed.is_initialized() or distributed.get_world_size() == 1
        text = str(error).splitlines()[0] if str(error) else ""
        if alone or not _LOST.search(text):
            raise
        raise LostRankError(f"another rank has ended, its own error tells why: {text}") from error


def local_device() -> torch.device:
    """Returns the device of this process: its GPU, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def seed_random_states(seed: int) -> None:
    """Seeds torch's generator and Megatron's tracker, both of this process.

    The tracker stays the same object: TransformerEngine's attention keeps the one that there was
    when it was built, and would go on from old states if a new one took its place.
    """
    torch.manual_seed(seed)
    model_parallel_cuda_manual_seed(seed % 2**31)


def context_share() -> ContextShare:
    """Returns this process's place among the ranks that share its documents."""
    return ContextShare(
        rank=parallel_state.get_context_parallel_rank(),
        ranks=parallel_state.get_context_parallel_world_size(),
    )


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
