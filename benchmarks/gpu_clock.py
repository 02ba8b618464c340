"""What both sides of the GPU's comparison share: what is swept, the clock, and the rates."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from minilingua.params import Params
from minilingua.training.flops import StepWork, peak_flops, step_flops

WARMUPS = 2
_NO_MEMORY = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What is measured."""

    vocab_size: int
    pack_lengths: tuple[int, ...]
    tokens_per_micro_batch: tuple[int, ...]
    tokens_per_step: int
    steps: int
    padded_rows: tuple[int, ...]
    """Conversations of a padded micro batch, for transformers."""
    padded_to: int


def clocked(step: Callable[[], Any], steps: int, device: torch.device) -> dict[str, Any]:
    """Returns the mean seconds of a step, without the warm-ups, and the peak memory.

    Steps that do not fit into memory are ``skipped``; what else goes wrong is ``failed``, so that
    one bad case leaves the others.
    """
    gc.collect()
    on_gpu = device.type == "cuda"
    try:
        if on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
        for _ in range(WARMUPS):
            step()
        _synchronize(device)
        began = time.perf_counter()
        for _ in range(steps):
            step()
        _synchronize(device)
    except Exception as error:  # noqa: BLE001 - told in the table
        if isinstance(error, torch.OutOfMemoryError) or any(s in str(error) for s in _NO_MEMORY):
            return {"skipped": "out of memory"}
        return {"failed": failure(error)}
    seconds = (time.perf_counter() - began) / steps
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if on_gpu else None
    return {"seconds": seconds, "peak_memory_gib": memory}


def failure(error: BaseException) -> str:
    """Returns one line of what went wrong."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0][:300]}" if said else type(error).__name__


def rates(seconds: float, tokens: float, useful: float, conversations: float) -> dict[str, float]:
    """Returns what a second does."""
    return {
        "tokens_per_s": tokens / seconds,
        "supervised_tokens_per_s": useful / seconds,
        "conversations_per_s": conversations / seconds,
    }


def utilisation(
    params: Params, vocab_size: int, work: StepWork, seconds: float, device: torch.device
) -> dict[str, float | None]:
    """Returns the operations a second that a step needs, and their share of the device's peak."""
    achieved = step_flops(params.model, vocab_size, work) / seconds
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    peak = peak_flops(name, params.train.precision)
    return {"teraflops": achieved / 1e12, "mfu": None if peak is None else achieved / peak}


def matmul_teraflops(device: torch.device, size: int = 8192) -> float | None:
    """Returns what a large bf16 product reaches on random numbers: the bound of all that follows.

    None: not on a GPU.
    """
    if device.type != "cuda":
        return None
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    found = clocked(lambda: torch.mm(a, b), 20, device)
    return 2 * size**3 / found["seconds"] / 1e12 if "seconds" in found else None


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
