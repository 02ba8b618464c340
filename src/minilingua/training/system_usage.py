"""What a training takes of the machine: processors, memory, and the GPUs of this process.

Sampled between steps and evaluations, every ``INTERVAL_S`` seconds, by the first rank: of its node
it tells all processors and memory, and the GPUs that it can see. Names are those of MLflow's own
system metrics. A sample takes about a millisecond; nothing of it reaches an output.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil  # type: ignore[import-untyped]  # it ships no type information
import torch

INTERVAL_S = 10.0
_MEGABYTE = 1e6  # MLflow's


@dataclass(slots=True)
class SystemMonitor:
    """Samples when it is time to."""

    interval_s: float = INTERVAL_S
    _process: psutil.Process = field(default_factory=psutil.Process)
    _due: float = 0.0
    _gpu_figures: dict[str, Callable[[int], float]] = field(init=False)

    def __post_init__(self) -> None:
        psutil.cpu_percent()  # from here on it tells of the time between two calls
        self._process.cpu_percent()
        self._gpu_figures = {
            "utilization_percentage": torch.cuda.utilization,
            "memory_usage_megabytes": _gpu_memory_mb,
            "power_usage_watts": _gpu_power_watts,
        }

    def sample(self) -> dict[str, float] | None:
        """Returns name ─► figure; None before the interval is over."""
        now = time.monotonic()
        if now < self._due:
            return None
        self._due = now + self.interval_s
        memory = psutil.virtual_memory()
        return {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "process_cpu_utilization_percentage": self._process.cpu_percent(),
            "process_memory_usage_megabytes": self._process.memory_info().rss / _MEGABYTE,
            "system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
            **self._gpus(),
        }

    def _gpus(self) -> dict[str, float]:
        if not torch.cuda.is_available():
            return {}
        figures = {}
        errors = _nvml_errors()
        for name, ask in list(self._gpu_figures.items()):
            try:
                for device in range(torch.cuda.device_count()):
                    figures[f"gpu_{device}_{name}"] = float(ask(device))
            except errors:
                del self._gpu_figures[name]  # not told by this device, or no NVML: not asked again
        return figures


def _gpu_memory_mb(device: int) -> float:
    # NVML's figure: CUDA's own would make a context, and take memory, on the other ranks' GPUs.
    return torch.cuda.device_memory_used(device) / _MEGABYTE


def _gpu_power_watts(device: int) -> float:
    return torch.cuda.power_draw(device) / 1000


def _nvml_errors() -> tuple[type[Exception], ...]:
    """Returns what torch raises where NVML, its Python package or a figure is missing."""
    known = (ImportError, RuntimeError)
    try:
        from pynvml import NVMLError
    except ImportError:
        return known
    return (*known, NVMLError)
