"""The training step of ``LlamaForCausalLM`` on a GPU: padded, and with its own way of packing.

    padded    conversations as rows of one length, as the published run had them
    packed    all in one row: flash attention is told where each begins, sdpa gets a mask of blocks

Weights in bf16 and torch's fused AdamW on them, without fp32 weights: the least that it can do.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from benchmarks.gpu_clock import Sweep, clocked, rates, utilisation
from benchmarks.gpu_data import MEAN_TOKENS, lengths
from minilingua.params import Params
from minilingua.training.flops import StepWork

_IGNORED = -100
"""Label of tokens that are no targets."""
Batch = Mapping[str, Any]


def measure_transformers(
    params: Params, sweep: Sweep, device: torch.device, in_time: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """Yields one measurement a batch; out of memory is a result."""
    model, attention = _model(params, sweep, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    cases = [("padded", rows) for rows in sweep.padded_rows]
    cases += [("packed", tokens // MEAN_TOKENS) for tokens in sweep.tokens_per_micro_batch]
    for kind, rows in cases:
        case = {
            "side": f"transformers, {attention}, {kind}",
            "pack": sweep.padded_to if kind == "padded" else None,
            "packs_joined": rows if kind == "padded" else 1,
        }
        if not in_time():
            yield {**case, "skipped": "no time left"}
            continue
        drawn = lengths(rows * sweep.steps, sweep.padded_to)
        sizes = [drawn[begin : begin + rows] for begin in range(0, len(drawn), rows)]
        batches = [
            padded(part, sweep, device)
            if kind == "padded"
            else packed(part, sweep, device, described=attention == "flash_attention_2")
            for part in sizes
        ]
        turn = iter(range(10**6))

        def step(batches: list[Batch] = batches, turn: Iterator[int] = turn) -> None:
            optimizer.zero_grad()
            model(**batches[next(turn) % len(batches)], use_cache=False).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        outcome = clocked(step, len(batches), device)
        if "seconds" in outcome:
            outcome |= _told(params, sweep, device, sizes, batches, outcome["seconds"])
        yield {**case, **outcome}


def _model(params: Params, sweep: Sweep, device: torch.device) -> tuple[Any, str]:
    """Returns the model and its attention: flash attention where it is installed and works."""
    from importlib.util import find_spec

    from transformers import AutoConfig, AutoModelForCausalLM

    from minilingua.base_model.llama import Vocabulary, config

    vocabulary = Vocabulary(size=sweep.vocab_size, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    described = AutoConfig.for_model(**config(params.model, vocabulary, init_std=0.02))
    flash = device.type == "cuda" and find_spec("flash_attn") is not None
    torch.manual_seed(0)
    for attention in ("flash_attention_2", "sdpa") if flash else ("sdpa",):
        try:
            with device:
                model = AutoModelForCausalLM.from_config(
                    described, attn_implementation=attention, dtype=torch.bfloat16
                )
        except (ImportError, RuntimeError, ValueError):
            if attention == "sdpa":
                raise
            continue  # it is there, and not for this torch
        return model.train(), attention
    raise AssertionError


def _told(
    params: Params,
    sweep: Sweep,
    device: torch.device,
    sizes: list[list[int]],
    batches: list[Batch],
    seconds: float,
) -> dict[str, Any]:
    steps = len(sizes)
    work = StepWork(
        tokens=sum(map(sum, sizes)) // steps,
        targets=sum(int((batch["labels"] != _IGNORED).sum()) for batch in batches) // steps,
        squared_lengths=sum(size * size for part in sizes for size in part) // steps,
    )
    return {
        **rates(seconds, work.tokens, work.targets, len(sizes[0])),
        **utilisation(params, sweep.vocab_size, work, seconds, device),
    }


def padded(sizes: list[int], sweep: Sweep, device: torch.device) -> Batch:
    """Returns rows padded to one length, a third of each conversation labelled."""
    ids, answer, real = _rows(sizes, sweep)
    return {
        "input_ids": ids.where(real, 0).to(device),
        "attention_mask": real.long().to(device),
        "labels": ids.where(answer, _IGNORED).to(device),
    }


def packed(sizes: list[int], sweep: Sweep, device: torch.device, *, described: bool) -> Batch:
    """Returns the same conversations in one row, with positions that begin anew in each.

    Args:
        sizes: tokens of each.
        sweep: vocabulary and longest.
        device: where the tensors go.
        described: also says where each begins, for flash attention.
    """
    ids, answer, real = _rows(sizes, sweep)
    position = torch.arange(sweep.padded_to).expand_as(ids)
    row: dict[str, Any] = {
        "input_ids": ids[real][None].to(device),
        "labels": ids.where(answer, _IGNORED)[real][None].to(device),
        "position_ids": position[real][None].to(device),
    }
    if described:
        bounds = torch.tensor([0, *sizes]).cumsum(0).to(torch.int32).to(device)
        row |= {"cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds}
        row |= {"max_length_q": max(sizes), "max_length_k": max(sizes)}
    return row


def _rows(sizes: list[int], sweep: Sweep) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns tokens, and which of them are answers, and which of them there are."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(sizes), sweep.padded_to)
    ids = torch.randint(3, sweep.vocab_size, shape, generator=generator)
    position = torch.arange(sweep.padded_to)
    size = torch.tensor(sizes)[:, None]
    real = position < size
    return ids, real & (position >= size - (size // 3).clamp(min=2)), real
