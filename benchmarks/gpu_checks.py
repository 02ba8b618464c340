"""Correctness on this device: isolation and parity of every backend, and a killed training.

isolation   another document A in a pack leaves the logits of the others bit-equal
parity      half-precision losses and gradients are as near to fp32 ``sdpa`` as those of
            half-precision ``sdpa`` are: at most twice as far away
restart     `minilingua verify-restart` on this device, profile ``bitwise``
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.gpu_data import lengths, write_data
from minilingua.llama_shapes import tensor_shapes
from minilingua.megatron_model.attention import Backend
from minilingua.megatron_model.build import BuildOptions, PackedGPTModel, build_model
from minilingua.megatron_model.documents import pack_documents
from minilingua.megatron_model.weight_map import hf_to_megatron
from minilingua.megatron_model.weights import load_tensors
from minilingua.params import ModelParams, Params

VOCABULARY = 2048
_SLACK = 2.0
"""How much farther from fp32 than half-precision ``sdpa`` a backend may be."""


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
    exact = _losses_and_gradients(_build(model, tensors, "sdpa", "fp32", device), tokens, sizes)
    results: dict[str, Any] = {}
    base: dict[str, float] | None = None
    for backend in ("sdpa", *(name for name in backends if name != "sdpa")):
        module = _build(model, tensors, backend, "bf16", device)
        distance = _distance(_losses_and_gradients(module, tokens, sizes), exact)
        base = base or distance
        isolated = _is_isolated(module, tokens, sizes)
        near = all(distance[name] <= _SLACK * base[name] for name in distance)
        results[backend] = {
            "isolated": isolated,
            "relative_distance_from_fp32": distance,
            "passed": isolated and near,
        }
    return results


def check_restart(params: Params, scratch: Path, steps: int) -> dict[str, Any]:
    """Returns the certificate of a training killed and taken up again, or why there is none."""
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
    done = subprocess.run(  # noqa: S603 - our own program
        command,
        cwd=root,
        env={**os.environ, "MINILINGUA_RANKS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    certificate = root / "runs/restart_certificate.json"
    found = json.loads(certificate.read_text(encoding="utf-8")) if certificate.exists() else {}
    said = done.stderr.strip().splitlines()
    return {
        "passed": done.returncode == 0,
        "error": None if done.returncode == 0 or not said else said[-1],
        "certificate": found,
    }


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
    module: PackedGPTModel, tokens: Any, sizes: Sequence[int]
) -> dict[str, Tensor]:
    device = next(module.parameters()).device
    labels = torch.from_numpy(np.roll(tokens, -1)).to(device)[None]
    losses = _forward(module, tokens, sizes, labels=labels)
    losses.mean().backward()  # type: ignore[no-untyped-call]  # torch
    gradients = [p.grad.float().flatten() for p in module.parameters() if p.grad is not None]
    return {"losses": losses.detach().float().flatten(), "gradients": torch.cat(gradients)}


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
