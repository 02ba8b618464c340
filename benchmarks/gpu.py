"""What needs a GPU: backends, restart, then speed and memory of the 1B model. See gpu.sh.

    environment ─► isolation, parity ─► killed training ─► sweep of ours ─► transformers ─► table
                                                              each section while there is time

Results are written after every section and every measurement, so that a run that is cut off leaves
what it has. What fails is told in its place, and the rest goes on.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ruamel.yaml import YAML

from benchmarks.gpu_report import compiled, environment, markdown, write
from benchmarks.options import SHORT
from benchmarks.results import RESULTS
from minilingua.params import ModelParams, ParallelParams, Params
from minilingua.params_file import load_params

_ROOT = Path(__file__).parents[1]
_RESERVE_S = 20.0
"""Kept for the end: a measurement is not begun with less time left."""
_THEIRS_S = 90.0
"""Kept for transformers while ours is measured."""
_RESTART_S = 200.0
"""That the three trainings of the restart check may take."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all; exit code 1 if something failed."""
    arguments = _parser().parse_args(argv)
    began = time.monotonic() - arguments.spent
    import torch

    from minilingua.megatron_model.megatron import quiet
    from minilingua.megatron_model.parallel import local_device, one_rank

    on_gpu = torch.cuda.is_available()
    if not on_gpu and not arguments.short:
        print("gpu: error: torch sees no GPU; --short runs on a CPU", file=sys.stderr)
        return 2
    if on_gpu:
        _settle_memory()
        # What torch cannot compile here runs as it is: slower, but all of it is measured.
        torch._dynamo.config.suppress_errors = True
    else:
        torch.set_num_threads(2)
    backends = _names(arguments)
    output = arguments.output or (SHORT if arguments.short else RESULTS)
    result: dict[str, Any] = {"short": arguments.short, "environment": environment(), "failed": {}}

    def left() -> float:
        return float(arguments.minutes * 60 - (time.monotonic() - began))

    with TemporaryDirectory(prefix="minilingua-gpu-") as name, quiet():
        scratch = Path(name)
        device = local_device()
        with one_rank():
            _run(result, "backends", output, lambda: _backends(arguments, backends, device))
        _run(result, "restart", output, lambda: _restart(arguments, backends[0], scratch))
        with one_rank():
            _run(result, "matmul_teraflops", output, lambda: _matmul(device))
            _run(
                result,
                "throughput",
                output,
                lambda: _throughput(arguments, backends, device, scratch, left),
            )
    result["compiled"] = compiled()
    result["minutes"] = round((time.monotonic() - began) / 60, 2)
    write(result, output)
    print(markdown(result))
    checks = [*result.get("backends", {}).values(), result.get("restart", {"passed": False})]
    measured = result.get("throughput", [])
    well = all(check["passed"] for check in checks) and not result["failed"]
    return 0 if well and not any("failed" in item for item in measured) else 1


def _settle_memory() -> None:
    """Does without expandable segments (gpu.sh asks for them) where the driver fails at them.

    Some virtual machines do. What is started from here does without them too.
    """
    import torch

    try:
        torch.zeros(1, device="cuda")
    except RuntimeError:
        plain = "expandable_segments:False"
        print(f"gpu: PYTORCH_ALLOC_CONF={plain}: the driver fails at them", file=sys.stderr)
        os.environ["PYTORCH_ALLOC_CONF"] = plain
        torch._C._accelerator_setAllocatorSettings(plain)
        torch.zeros(1, device="cuda")


def _run(result: dict[str, Any], name: str, output: Path, section: Callable[[], Any]) -> None:
    """Runs a section and writes what it found, item by item where it yields."""
    from benchmarks.gpu_clock import failure

    print(f"gpu: {name}", file=sys.stderr)
    try:
        found = section()
        if not isinstance(found, Iterator):
            result[name] = found
        else:
            result[name] = []
            for item in found:
                result[name].append(item)
                write(result, output)
    except Exception as error:  # noqa: BLE001 - told in the table; the other sections go on
        result["failed"][name] = failure(error)
    write(result, output)


def _backends(arguments: argparse.Namespace, backends: Sequence[Any], device: Any) -> Any:
    from benchmarks.gpu_checks import check_backends

    # Two layers with the heads of the 1B model: the kernels that are measured afterwards.
    model = _model("smoke") if arguments.short else _model("1b", layers=2)
    return check_backends(model, backends, device)


def _restart(arguments: argparse.Namespace, backend: Any, scratch: Path) -> Any:
    from benchmarks.gpu_checks import check_restart

    dropout = {"hidden_dropout": 0.1, "attention_dropout": 0.0 if backend == "varlen" else 0.1}
    params = _params(
        _model("smoke" if arguments.short else "30m"),
        profile="bitwise",
        attention=backend,
        **dropout,
    )
    found = check_restart(params, scratch, steps=20, seconds=_RESTART_S)
    return {**found, "attention": backend, "dropout": list(dropout.values())}


def _matmul(device: Any) -> float | None:
    from benchmarks.gpu_clock import matmul_teraflops

    return matmul_teraflops(device)


def _throughput(
    arguments: argparse.Namespace,
    backends: Sequence[Any],
    device: Any,
    scratch: Path,
    left: Callable[[], float],
) -> Iterator[dict[str, Any]]:
    from benchmarks.gpu_clock import Sweep
    from benchmarks.gpu_throughput import measure_ours
    from benchmarks.gpu_transformers import measure_transformers

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
            padded_rows=(4, 8, 16),
            padded_to=2048,
        )
    params = _params(
        _model("smoke" if arguments.short else "1b", max_positions=8192),
        profile="fast",
        attention="auto",
        hidden_dropout=0.0,
        attention_dropout=0.0,
    )
    cases: list[tuple[Any, Any, Sweep]] = [
        (backend, "bf16", sweep)
        for backend in backends
        if backend != "sdpa" or arguments.short  # the reference; not made for speed on a GPU
    ]
    if "te" in backends:
        cases.append(("te", "fp8", replace(sweep, pack_lengths=sweep.pack_lengths[-1:])))
    for backend, precision, swept in cases:
        train = params.train.model_copy(update={"precision": precision})
        yield from measure_ours(
            params.model_copy(update={"train": train}),
            swept,
            backend,
            device,
            scratch,
            lambda: left() > _RESERVE_S + _THEIRS_S,
        )
    yield from measure_transformers(params, sweep, device, lambda: left() > _RESERVE_S)


def _names(arguments: argparse.Namespace) -> list[Any]:
    """Returns the backends that can run here, the fastest first.

    Raises:
        SystemExit: one that was asked for cannot run on this GPU.
    """
    import torch

    from minilingua.core.errors import ParamsError
    from minilingua.megatron_model.backends import choose_backend

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
    """Returns the parameters in params.yaml, of which nothing is left that matters here."""
    params = load_params(_ROOT / "params.yaml")
    alone = ParallelParams(
        tensor=1,
        sequence=False,
        pipeline=1,
        context=1,
        distributed_optimizer=False,
        fully_sharded=False,
        overlap=False,
    )
    always: dict[str, Any] = {
        "learning_rate_schedule": "constant",
        "lr": 1e-4,
        "min_lr": 0.0,
        "warmup_steps": 0,
        "micro_batch": 1,
        "precision": "bf16",
        "recompute": "none",
        "parallel": alone,
        "keep_checkpoints": 2,
        "spikes": params.train.spikes.model_copy(update={"threshold": None}),
    }
    return params.model_copy(
        update={
            "model": model,
            "train": params.train.model_copy(update={**always, **train}),
            "pack": params.pack.model_copy(update={"sequence_length": 512}),
        }
    )


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
        "--spent",
        type=float,
        default=0.0,
        help="seconds of it that are over (default: %(default)s)",
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
