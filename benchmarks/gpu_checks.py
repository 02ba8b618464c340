"""Correctness on this device: isolation and parity of every backend, and a killed training.

isolation   another document A in a pack leaves the logits of the others bit-equal
parity      half-precision losses and gradients are as near to fp32 ``sdpa`` as those of
            half-precision ``sdpa`` are: at most twice as far away
chunks      the chunks of two context-parallel ranks, one after the other on this device, make up
            the attention of whole documents (``sdpa`` and ``varlen``; ``te`` cuts by itself)
restart     `minilingua verify-restart` on this device, profile ``bitwise``
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.gpu_clock import failure
from benchmarks.gpu_data import lengths, write_data
from minilingua.llama_shapes import tensor_shapes
from minilingua.megatron_model.backends import Backend
from minilingua.megatron_model.build import BuildOptions, PackedGPTModel, build_model
from minilingua.megatron_model.context import ContextChunks, ContextShare
from minilingua.megatron_model.documents import pack_documents
from minilingua.megatron_model.weight_map import hf_to_megatron
from minilingua.megatron_model.weights import load_tensors, read_tensors
from minilingua.params import ModelParams, Params

VOCABULARY = 2048
_END_S = 10.0
"""That a program has to end after it was interrupted."""
_SLACK = 2.0
"""How much farther from fp32 than half-precision ``sdpa`` a backend may be."""
_ROUNDED = 0.01
"""Relative distance of half-precision results that differ by rounding alone."""


def random_tensors(model: ModelParams, vocab_size: int, device: torch.device) -> dict[str, Tensor]:
    """Returns weights by Megatron name, drawn on the device."""
    generator = torch.Generator(device).manual_seed(0)
    drawn = {
        name: torch.ones(shape, device=device)
        if len(shape) == 1
        else torch.randn(shape, generator=generator, device=device) * 0.02
        for name, shape in tensor_shapes(model, vocab_size).items()
    }
    return hf_to_megatron(drawn, model)


def check_backends(
    model: ModelParams, backends: Sequence[Backend], device: torch.device
) -> dict[str, Any]:
    """Returns isolation and parity of each backend; ``passed`` tells whether both hold."""
    tensors = random_tensors(model, VOCABULARY, device)
    sizes = lengths(12, 512)
    tokens = np.random.default_rng(2).integers(3, VOCABULARY, sum(sizes))
    reference = _build(model, tensors, "sdpa", "fp32", device)
    exact = _losses_and_gradients(reference, model, tokens, sizes)
    results: dict[str, Any] = {}
    base: dict[str, float] | None = None
    for backend in ("sdpa", *(name for name in backends if name != "sdpa")):
        try:
            module = _build(model, tensors, backend, "bf16", device)
            distance = _distance(_losses_and_gradients(module, model, tokens, sizes), exact)
            base = base or distance
            isolated = _is_isolated(module, tokens, sizes)
            chunks = None if backend == "te" else _distance_of_chunks(module, device)
        except Exception as error:  # noqa: BLE001 - told; the other backends are looked at too
            results[backend] = {"passed": False, "failed": failure(error)}
            continue
        near = all(distance[name] <= _SLACK * base[name] for name in distance)
        results[backend] = {
            "isolated": isolated,
            "relative_distance_from_fp32": distance,
            "relative_distance_of_chunks": chunks,
            "passed": isolated and near and (chunks is None or chunks < _ROUNDED),
        }
    return results


def check_restart(params: Params, scratch: Path, steps: int, seconds: float) -> dict[str, Any]:
    """Returns the certificate of a training killed and taken up again, or why there is none.

    Args:
        params: of the training.
        scratch: an empty directory.
        steps: of the training.
        seconds: that it may take.
    """
    root = scratch / "restart"
    for name in ("src", "containers", "dvc.yaml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(Path(name).resolve())
    write_data(
        root,
        vocab_size=VOCABULARY,
        sequence_length=params.pack.sequence_length,
        steps=steps,
        packs_per_step=2,
    )
    base = root / "models/base"
    base.mkdir(parents=True)
    shapes = tensor_shapes(params.model, VOCABULARY)
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.ones(shape) if len(shape) == 1 else torch.randn(shape, generator=generator) / 50
        for name, shape in shapes.items()
    }
    save_file(weights, base / "model.safetensors")
    (base / "config.json").write_text(json.dumps({"vocab_size": VOCABULARY}), encoding="utf-8")
    with (root / "params.yaml").open("w", encoding="utf-8") as stream:
        YAML().dump(params.model_dump(mode="json"), stream)
    command = [sys.executable, "-m", "minilingua", "verify-restart", "--steps", str(steps)]
    process = subprocess.Popen(  # noqa: S603 - our own program
        command,
        cwd=root,
        env={**os.environ, "MINILINGUA_RANKS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        return {"passed": False, "error": f"not over after {seconds:.0f} s", "certificate": {}}
    certificate = root / "runs/restart_certificate.json"
    found = json.loads(certificate.read_text(encoding="utf-8")) if certificate.exists() else {}
    said = errors.strip().splitlines()
    return {
        "passed": process.returncode == 0,
        "error": None if process.returncode == 0 or not said else said[-1],
        "certificate": found,
    }


def _end(process: "subprocess.Popen[str]") -> None:
    """Interrupts a program and those that it started, so that none holds the GPU; then kills."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=_END_S)
            return


def _build(
    model: ModelParams,
    tensors: dict[str, Tensor],
    backend: Any,
    precision: Any,
    device: torch.device,
) -> PackedGPTModel:
    options = BuildOptions(attention=backend, precision=precision, deterministic=False)
    module = build_model(model, VOCABULARY, options)
    module.to(device)
    if precision == "bf16":
        module.bfloat16()
    load_tensors(module, tensors, model)
    return module


def _forward(module: PackedGPTModel, tokens: Any, sizes: Sequence[int], **labels: Tensor) -> Tensor:
    device = next(module.parameters()).device
    documents = pack_documents(sizes, with_slots=module.backend == "sdpa", device=device)
    ids = torch.from_numpy(np.asarray(tokens)).to(device)[None]
    output: Tensor = module(
        ids, documents.positions[None], None, packed_seq_params=documents, **labels
    )
    return output


def _losses_and_gradients(
    module: PackedGPTModel, model: ModelParams, tokens: Any, sizes: Sequence[int]
) -> dict[str, Tensor]:
    """On the CPU; gradients in the order of the weight map, for each backend has its own."""
    device = next(module.parameters()).device
    labels = torch.from_numpy(np.roll(tokens, -1)).to(device)[None]
    losses = _forward(module, tokens, sizes, labels=labels)
    losses.mean().backward()  # type: ignore[no-untyped-call]  # torch
    gradients = read_tensors(module, model, _gradient)
    return {
        "losses": losses.detach().float().flatten().cpu(),
        "gradients": torch.cat([gradients[name].flatten() for name in sorted(gradients)]),
    }


def _gradient(parameter: torch.nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def _distance_of_chunks(module: PackedGPTModel, device: torch.device) -> float:
    """Returns how far the attention of two ranks' chunks is from that of whole documents."""
    core = module.decoder.layers[0].self_attention.core_attention.eval()
    config = module.config
    sizes = [ContextShare(ranks=2).multiple * size for size in (50, 7, 120)]
    generator = torch.Generator(device).manual_seed(3)
    query, key, value = (
        torch.randn(
            (sum(sizes), heads, config.kv_channels),
            generator=generator,
            device=device,
            dtype=torch.bfloat16,
        )
        for heads in (config.num_attention_heads, *(2 * [config.num_query_groups]))
    )
    documents = pack_documents(sizes, with_slots=module.backend == "sdpa", device=device)
    sizes_of = np.array(sizes)
    shares = [ContextShare(rank=rank, ranks=2) for rank in range(2)]
    rows = [torch.from_numpy(share.rows(sizes_of)).to(device) for share in shares]
    gathered = torch.cat(rows)
    parts = []
    with torch.no_grad():
        whole = core.attend(query, key, value, documents)
        for share, own in zip(shares, rows, strict=True):
            chunks = ContextChunks.of(sizes_of, share, device)
            assert chunks is not None
            seen = (x[gathered][chunks.key_rows] for x in (key, value))
            parts.append(core.attend_chunks(query[own], *seen, chunks))
    found = torch.cat(parts)
    return float((found - whole[gathered]).float().norm() / whole.float().norm())


def _distance(found: dict[str, Tensor], exact: dict[str, Tensor]) -> dict[str, float]:
    return {name: float((found[name] - exact[name]).norm() / exact[name].norm()) for name in exact}


def _is_isolated(module: PackedGPTModel, tokens: Any, sizes: Sequence[int]) -> bool:
    """Changes a document in the middle and compares the logits of all others, bit by bit."""
    begin = sum(sizes[:5])
    end = begin + sizes[5]
    changed = tokens.copy()
    changed[begin:end] = (changed[begin:end] + 7) % VOCABULARY
    with torch.no_grad():
        before, after = (_forward(module, ids, sizes)[0] for ids in (tokens, changed))
    others = torch.ones(len(tokens), dtype=torch.bool, device=before.device)
    others[begin:end] = False
    return torch.equal(before[others], after[others]) and not torch.equal(before, after)
