"""Speed and memory of the training step, swept, and of transformers on the same conversations."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_checks import random_tensors
from benchmarks.gpu_data import write_data
from minilingua.core.plan import read_plan
from minilingua.megatron_model.attention import Backend
from minilingua.params import Params
from minilingua.training.data import PlannedSplit, open_split
from minilingua.training.engine import Engine, build_engine
from minilingua.training.flops import peak_flops, step_flops

WARMUPS = 2


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


def measure_ours(
    params: Params,
    sweep: Sweep,
    backend: Backend,
    device: torch.device,
    scratch: Path,
    in_time: Callable[[], bool],
) -> Iterator[dict[str, Any]]:
    """Yields one measurement a pack length and micro batch; out of memory is a result."""
    engine: Engine | None = None
    for length in sweep.pack_lengths:
        split = _split(scratch / f"packs-{length}", length, sweep, backend, device)
        packs = max(1, sweep.tokens_per_step // length)
        for tokens in sweep.tokens_per_micro_batch:
            micro_batch = max(1, tokens // length)
            if micro_batch > packs:
                continue
            case = {"side": f"ours, {backend}", "pack": length, "packs_joined": micro_batch}
            if not in_time():
                yield {**case, "skipped": "no time left"}
                continue
            changed = params.model_copy(
                update={"train": params.train.model_copy(update={"micro_batch": micro_batch})}
            )
            if engine is None:
                weights = random_tensors(params.model, sweep.vocab_size, device)
                engine = build_engine(
                    changed, weights, vocab_size=sweep.vocab_size, backend=backend, train=split
                )
                del weights
            engine = replace(engine, params=changed, train=split)
            yield {**case, **_timed(_steps(engine), engine, sweep, device)}


def measure_transformers(
    params: Params, sweep: Sweep, device: torch.device, in_time: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """Yields measurements of ``LlamaForCausalLM``, padded as the reference did."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from benchmarks.gpu_data import lengths
    from minilingua.base_model.llama import Vocabulary, config

    vocabulary = Vocabulary(size=sweep.vocab_size, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    attention = "flash_attention_2" if _has_flash() and device.type == "cuda" else "sdpa"
    described = AutoConfig.for_model(**config(params.model, vocabulary, init_std=0.02))
    torch.manual_seed(0)
    with device:
        model = AutoModelForCausalLM.from_config(
            described, attn_implementation=attention, dtype=torch.bfloat16
        ).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    for rows in sweep.padded_rows:
        case = {
            "side": f"transformers, {attention}",
            "pack": None,
            "packs_joined": rows,
            "padded_to": sweep.padded_to,
        }
        if not in_time():
            yield {**case, "skipped": "no time left"}
            continue
        sizes = lengths(rows * 8, sweep.padded_to)[:rows]
        batch = _padded(sizes, sweep, device)

        def step(batch: Mapping[str, torch.Tensor] = batch) -> None:
            optimizer.zero_grad()
            model(**batch, use_cache=False).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        outcome = _clocked(step, sweep.steps, device)
        if "seconds" in outcome:
            useful = int((batch["labels"] != -100).sum())
            outcome |= _rates(outcome["seconds"], sum(sizes), useful, rows)
        yield {**case, **outcome}


def _steps(engine: Engine) -> Callable[[], Any]:
    number = iter(range(1, 10**6))
    return lambda: engine.train_step((next(number) - 1) % engine.train.plan.steps + 1)


def _timed(
    step: Callable[[], Any], engine: Engine, sweep: Sweep, device: torch.device
) -> dict[str, Any]:
    outcome = _clocked(step, sweep.steps, device)
    if "seconds" not in outcome:
        return outcome
    contents = [engine.train.contents(n % engine.train.plan.steps) for n in range(sweep.steps)]
    tokens, useful, conversations, flops = (
        sum(values) / sweep.steps
        for values in (
            [item.tokens for item in contents],
            [item.supervised_tokens for item in contents],
            [item.conversations for item in contents],
            [step_flops(engine.params.model, sweep.vocab_size, item.work) for item in contents],
        )
    )
    rates = _rates(outcome["seconds"], tokens, useful, conversations)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    peak = peak_flops(name, engine.params.train.precision)
    achieved = flops / outcome["seconds"]
    return {
        **outcome,
        **rates,
        "teraflops": achieved / 1e12,
        "mfu": None if peak is None else achieved / peak,
    }


def _rates(seconds: float, tokens: float, useful: float, conversations: float) -> dict[str, float]:
    return {
        "tokens_per_s": tokens / seconds,
        "supervised_tokens_per_s": useful / seconds,
        "conversations_per_s": conversations / seconds,
    }


def _clocked(step: Callable[[], Any], steps: int, device: torch.device) -> dict[str, Any]:
    """Returns the mean seconds of a step, without the warm-ups, and the peak memory."""
    gc.collect()
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        for _ in range(WARMUPS):
            step()
        _synchronize(device)
        began = time.perf_counter()
        for _ in range(steps):
            step()
        _synchronize(device)
    except torch.OutOfMemoryError:
        return {"skipped": "out of memory"}
    seconds = (time.perf_counter() - began) / steps
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if on_gpu else None
    return {"seconds": seconds, "peak_memory_gib": memory}


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _split(
    root: Path, length: int, sweep: Sweep, backend: Backend, device: torch.device
) -> PlannedSplit:
    if not root.exists():
        write_data(
            root,
            vocab_size=sweep.vocab_size,
            sequence_length=length,
            steps=3,
            packs_per_step=max(1, sweep.tokens_per_step // length),
        )
    return open_split(
        read_plan(root / "data/plan"),
        "train",
        vocab_size=sweep.vocab_size,
        with_slots=backend == "sdpa",
        device=device,
        tokens=root / "data/tokens",
    )


def _padded(sizes: list[int], sweep: Sweep, device: torch.device) -> dict[str, torch.Tensor]:
    """Returns rows padded to one length, a third of each conversation labelled."""
    shape = (len(sizes), sweep.padded_to)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, sweep.vocab_size, shape, generator=generator)
    position = torch.arange(sweep.padded_to)
    size = torch.tensor(sizes)[:, None]
    real = position < size
    answer = real & (position >= size - (size // 3).clamp(min=2))
    return {
        "input_ids": ids.where(real, 0).to(device),
        "attention_mask": real.long().to(device),
        "labels": ids.where(answer, -100).to(device),
    }


def _has_flash() -> bool:
    from importlib.util import find_spec

    return find_spec("flash_attn") is not None
