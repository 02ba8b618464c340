"""What needs a GPU: backends, restart, then speed and memory of the 1B model. See gpu.sh.

    environment ─► isolation, parity ─► killed training ─► sweep of ours ─► transformers ─► table
                                                              each section while there is time

Results are written after every section, so that a run that is cut off leaves what it has.
"""

import argparse
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

from benchmarks.options import SHORT
from benchmarks.results import RESULTS
from minilingua.core.files import write_json, write_text
from minilingua.params import ModelParams, Params
from minilingua.params_file import load_params

_ROOT = Path(__file__).parents[1]
_RESERVE_S = 20.0
"""Kept for the end: a measurement is not begun with less time left."""
_COLUMNS = (
    ("side", "side"),
    ("pack", "pack"),
    ("packs_joined", "joined"),
    ("tokens_per_s", "tokens/s"),
    ("supervised_tokens_per_s", "supervised/s"),
    ("conversations_per_s", "conversations/s"),
    ("teraflops", "Tflop/s"),
    ("mfu", "MFU"),
    ("peak_memory_gib", "GiB"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all; exit code 1 if a check failed."""
    arguments = _parser().parse_args(argv)
    began = time.monotonic()
    import torch

    from minilingua.megatron_model.megatron import quiet
    from minilingua.megatron_model.parallel import local_device, one_rank

    on_gpu = torch.cuda.is_available()
    if not on_gpu and not arguments.short:
        print("gpu: error: torch sees no GPU; --short runs on a CPU", file=sys.stderr)
        return 2
    if not on_gpu:
        torch.set_num_threads(2)
    output = arguments.output or (SHORT if arguments.short else RESULTS)
    result: dict[str, Any] = {"short": arguments.short, "environment": _environment(arguments.te)}

    def left() -> float:
        return float(arguments.minutes * 60 - (time.monotonic() - began))

    with TemporaryDirectory(prefix="minilingua-gpu-") as name, quiet():
        scratch = Path(name)
        with one_rank():
            device = local_device()
            _run(result, "backends", output, lambda: _backends(arguments, device))
        _run(result, "restart", output, lambda: _restart(arguments, scratch))
        with one_rank():
            _run(
                result,
                "throughput",
                output,
                lambda: _throughput(arguments, device, scratch, lambda: left() > _RESERVE_S),
            )
    result["minutes"] = round((time.monotonic() - began) / 60, 2)
    _write(result, output)
    print((output / "gpu.md").read_text(encoding="utf-8"))
    checks = [*result["backends"].values(), result["restart"]]
    return 0 if all(check["passed"] for check in checks) else 1


def _backends(arguments: argparse.Namespace, device: Any) -> dict[str, Any]:
    from benchmarks.gpu_checks import check_backends

    return check_backends(_model("smoke"), _names(arguments), device)


def _restart(arguments: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    from benchmarks.gpu_checks import check_restart

    params = _params(
        _model("smoke" if arguments.short else "30m"),
        precision="bf16",
        profile="bitwise",
        attention="auto",
        micro_batch=1,
        hidden_dropout=0.0,
    )
    return check_restart(params, scratch, steps=20)


def _throughput(
    arguments: argparse.Namespace, device: Any, scratch: Path, in_time: Callable[[], bool]
) -> list[dict[str, Any]]:
    from benchmarks.gpu_throughput import Sweep, measure_ours, measure_transformers

    if arguments.short:
        sweep = Sweep(
            vocab_size=2048,
            pack_lengths=(256, 512),
            tokens_per_micro_batch=(512,),
            tokens_per_step=1024,
            steps=1,
            padded_rows=(2,),
            padded_to=512,
        )
    else:
        sweep = Sweep(
            vocab_size=128_000,
            pack_lengths=(2048, 4096, 8192),
            tokens_per_micro_batch=(8192, 16384, 32768),
            tokens_per_step=65_536,
            steps=4,
            padded_rows=(4, 16),
            padded_to=2048,
        )
    params = _params(
        _model("smoke" if arguments.short else "1b", max_positions=8192),
        precision="bf16",
        profile="fast",
        attention="auto",
        hidden_dropout=0.0,
    )
    import torch

    found: list[dict[str, Any]] = []
    for backend in _names(arguments):
        if backend == "sdpa" and not arguments.short:
            continue  # the reference; not made for speed on a GPU
        found += measure_ours(params, sweep, backend, device, scratch, in_time)
        if device.type == "cuda":
            torch.cuda.empty_cache()
    found += measure_transformers(params, sweep, device, in_time)
    return found


def _names(arguments: argparse.Namespace) -> list[Any]:
    """Returns the backends that can run here, the fastest first."""
    import torch

    from minilingua.core.errors import ParamsError
    from minilingua.megatron_model.attention import choose_backend

    names: list[Any] = []
    for name in ("te", "varlen", "sdpa") if arguments.te else ("varlen", "sdpa"):
        try:
            names.append(choose_backend(name, "bf16"))
        except ParamsError as error:
            if torch.cuda.is_available():
                raise SystemExit(f"gpu: error: {error}") from error
    return names


def _model(preset: str, **changes: int) -> ModelParams:
    raw = YAML(typ="safe", pure=True).load((_ROOT / f"conf/model/{preset}.yaml").read_text("utf-8"))
    return ModelParams.model_validate({**raw, **changes})


def _params(model: ModelParams, **train: Any) -> Params:
    params = load_params(_ROOT / "params.yaml")
    changed = params.train.model_copy(update={"attention_dropout": 0.0, "lr": 1e-4, **train})
    return params.model_copy(
        update={
            "model": model,
            "train": changed,
            "pack": params.pack.model_copy(update={"sequence_length": 512}),
        }
    )


def _run(result: dict[str, Any], name: str, output: Path, section: Callable[[], Any]) -> None:
    print(f"gpu: {name}", file=sys.stderr)
    result[name] = section()
    _write(result, output)


def _environment(te: bool) -> dict[str, Any]:  # noqa: FBT001 - what was asked for
    from importlib.metadata import PackageNotFoundError, version

    import torch

    versions: dict[str, str | None] = {}
    for package in ("torch", "megatron-core", "transformers", "transformer-engine", "flash-attn"):
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
        "te": te,
    }


def _write(result: dict[str, Any], output: Path) -> None:
    write_json(output / "gpu.json", result)
    write_text(output / "gpu.md", _markdown(result))


def _markdown(result: dict[str, Any]) -> str:
    about = result["environment"]
    packages = ", ".join(f"{name} {v}" for name, v in about["versions"].items() if v)
    lines = [
        "A training step of the 1B shape (128k vocabulary, bf16, conversations of 159 tokens)."
        if not result["short"]
        else "A trial of the program: nothing here is a measurement.",
        "",
        f"{about['device']}, CUDA {about['cuda']}; {packages}.",
        "",
        "| check | result |",
        "|---|---|",
    ]
    for name, check in result.get("backends", {}).items():
        distance = ", ".join(
            f"{part} {value:.2e}" for part, value in check["relative_distance_from_fp32"].items()
        )
        isolated = "isolated" if check["isolated"] else "NOT isolated"
        verdict = "passed" if check["passed"] else "FAILED"
        lines.append(f"| {name} | {verdict}: {isolated}; from fp32: {distance} |")
    if "restart" in result:
        restart = result["restart"]
        lines.append(
            f"| kill and restart | {'passed' if restart['passed'] else restart['error']} |"
        )
    if result.get("throughput"):
        lines += [
            "",
            "| " + " | ".join(title for _, title in _COLUMNS) + " |",
            "|---|" + "--:|" * (len(_COLUMNS) - 1),
        ]
        lines += ["| " + " | ".join(_cells(item)) + " |" for item in result["throughput"]]
    return "\n".join(lines) + "\n"


def _cells(item: dict[str, Any]) -> list[str]:
    cells = []
    for key, _ in _COLUMNS:
        value = item.get(key)
        if key == "tokens_per_s" and "skipped" in item:
            cells.append(item["skipped"])
        elif value is None:
            cells.append("")
        elif key == "mfu":
            cells.append(f"{value:.1%}")
        elif isinstance(value, float):
            cells.append(f"{value:,.1f}" if value < 1000 else f"{value:,.0f}")
        else:
            cells.append(str(value))
    return cells


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--te", action="store_true", help="measure TransformerEngine too")
    parser.add_argument(
        "--minutes", type=float, default=9.5, help="time for all (default: %(default)s)"
    )
    parser.add_argument(
        "--short", action="store_true", help="a tiny model, on a CPU too: shows that it runs"
    )
    parser.add_argument(
        "--output", type=Path, help="directory of the results (default: benchmarks/results)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
