"""The results of the GPU check as JSON and as a table, written after every part of it."""

import math
import platform
from pathlib import Path
from typing import Any

from minilingua.core.files import write_json, write_text

_PACKAGES = ("torch", "triton", "megatron-core", "transformers", "transformer-engine", "flash-attn")
_COLUMNS = (
    ("side", "side"),
    ("pack", "row"),
    ("packs_joined", "rows joined"),
    ("tokens_per_s", "tokens/s"),
    ("supervised_tokens_per_s", "supervised/s"),
    ("conversations_per_s", "conversations/s"),
    ("teraflops", "Tflop/s"),
    ("mfu", "MFU"),
    ("peak_memory_gib", "GiB"),
)
_NOTE = """\
Tokens are those of conversations; padding is not counted. Tflop/s and MFU are of the operations
that these tokens need: attention by squared lengths, logits and the last feed-forward for
supervised tokens; what a side computes beyond that is no merit. A row is a pack, or what is padded
to. The optimizer's step is in every figure; transformers has its weights in bf16 only, ours in fp32
too."""


def environment() -> dict[str, Any]:
    """Returns the machine and the versions of what matters on it."""
    from importlib.metadata import PackageNotFoundError, version

    import torch

    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    on_gpu = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if on_gpu else platform.processor() or "cpu",
        "memory_gib": round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1)
        if on_gpu
        else None,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "versions": versions,
    }


def compiled() -> dict[str, int]:
    """Returns how many functions torch compiled (``ok``) of those that it tried (``total``)."""
    from torch._dynamo.utils import counters

    return dict(counters["frames"])


def write(result: dict[str, Any], output: Path) -> None:
    """Writes gpu.json and gpu.md."""
    write_json(output / "gpu.json", _finite(result))
    write_text(output / "gpu.md", markdown(result))


def markdown(result: dict[str, Any]) -> str:
    """Returns the table."""
    about = result["environment"]
    packages = ", ".join(f"{name} {v}" for name, v in about["versions"].items() if v)
    bound = result.get("matmul_teraflops")
    lines = [
        "A training step of the 1B shape (128k vocabulary, bf16, conversations of 159 tokens)."
        if not result["short"]
        else "A trial of the program: nothing here is a measurement.",
        "",
        f"{about['device']}, CUDA {about['cuda']}; {packages}."
        + (f" A product of large bf16 matrices reaches {bound:,.0f} Tflop/s." if bound else "")
        + _compilations(result.get("compiled", {})),
        "",
        "| check | result |",
        "|---|---|",
    ]
    lines += [f"| {name} | {_backend(it)} |" for name, it in result.get("backends", {}).items()]
    if "restart" in result:
        lines.append(f"| kill and restart | {_restart(result['restart'])} |")
    lines += [f"| {name} | FAILED: {said} |" for name, said in result.get("failed", {}).items()]
    if result.get("throughput"):
        lines += [
            "",
            "| " + " | ".join(title for _, title in _COLUMNS) + " |",
            "|---|" + "--:|" * (len(_COLUMNS) - 1),
        ]
        lines += ["| " + " | ".join(_cells(item)) + " |" for item in result["throughput"]]
        lines += ["", _NOTE]
    return "\n".join(lines) + "\n"


def _compilations(frames: dict[str, int]) -> str:
    tried, done = frames.get("total", 0), frames.get("ok", 0)
    return f" torch compiled {done} of {tried} functions." if tried else ""


def _backend(check: dict[str, Any]) -> str:
    if "failed" in check:
        return f"FAILED: {check['failed']}"
    distance = ", ".join(
        f"{part} {value:.2e}" for part, value in check["relative_distance_from_fp32"].items()
    )
    isolated = "isolated" if check["isolated"] else "NOT isolated"
    told = f"{'passed' if check['passed'] else 'FAILED'}: {isolated}; from fp32: {distance}"
    chunks = check["relative_distance_of_chunks"]
    return told + ("" if chunks is None else f"; chunks from whole documents: {chunks:.2e}")


def _restart(check: dict[str, Any]) -> str:
    dropout = ", ".join(map(str, check.get("dropout", [])))
    if not check["passed"]:
        return f"FAILED: {check['error']}"
    return f"passed: bit for bit, attention {check['attention']}, dropout {dropout}"


def _cells(item: dict[str, Any]) -> list[str]:
    cells = []
    for key, _ in _COLUMNS:
        value = item.get(key)
        if key == "tokens_per_s" and ("skipped" in item or "failed" in item):
            cells.append(item.get("skipped") or f"FAILED: {item['failed']}")
        elif value is None:
            cells.append("")
        elif key == "mfu":
            cells.append(f"{value:.1%}")
        elif isinstance(value, float):
            cells.append(f"{value:,.1f}" if value < 1000 else f"{value:,.0f}")
        else:
            cells.append(str(value))
    return cells


def _finite(value: Any) -> Any:
    """Returns the same with numbers that JSON cannot hold as text."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
