import time

import psutil  # type: ignore[import-untyped]  # it ships none
import pytest
import torch

from minilingua.training.system_usage import SystemMonitor


def busy(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        sum(range(1000))


def test_samples_are_of_this_machine_and_process() -> None:
    monitor = SystemMonitor(interval_s=0.0)
    busy(0.2)
    found = monitor.sample()
    assert found is not None
    megabytes = psutil.virtual_memory().total / 1e6
    assert 0 < found["cpu_utilization_percentage"] <= 100
    assert found["process_cpu_utilization_percentage"] > 1  # this loop, however busy the machine
    assert 0 < found["process_memory_usage_megabytes"] < found["system_memory_usage_megabytes"]
    assert found["system_memory_usage_megabytes"] < megabytes
    assert 0 < found["system_memory_usage_percentage"] < 100
    if not torch.cuda.is_available():
        assert not [name for name in found if name.startswith("gpu_")]


def test_nothing_is_sampled_before_the_interval_is_over() -> None:
    monitor = SystemMonitor(interval_s=60.0)
    assert monitor.sample() is not None
    assert monitor.sample() is None


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch tells of two GPUs, the figures in NVML's units."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 90 + device)
    monkeypatch.setattr(torch.cuda, "device_memory_used", lambda device: (device + 1) * 10**9)
    monkeypatch.setattr(torch.cuda, "power_draw", lambda device: 350_000 + device)


@pytest.mark.usefixtures("two_gpus")
def test_figures_of_every_gpu_have_mlflows_names() -> None:
    found = SystemMonitor().sample()
    assert found is not None
    assert {name: value for name, value in found.items() if name.startswith("gpu_")} == {
        "gpu_0_utilization_percentage": 90,
        "gpu_1_utilization_percentage": 91,
        "gpu_0_memory_usage_megabytes": 1000.0,
        "gpu_1_memory_usage_megabytes": 2000.0,
        "gpu_0_power_usage_watts": 350.0,
        "gpu_1_power_usage_watts": 350.001,
    }


@pytest.mark.usefixtures("two_gpus")
def test_what_a_gpu_does_not_tell_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def refuse(device: int) -> int:
        asked.append(device)
        raise RuntimeError("not supported")

    monkeypatch.setattr(torch.cuda, "power_draw", refuse)
    monitor = SystemMonitor(interval_s=0.0)
    for _ in range(2):
        found = monitor.sample()
        assert found is not None
        assert "gpu_0_power_usage_watts" not in found
        assert found["gpu_1_utilization_percentage"] == 91
    assert asked == [0]  # and is not asked for again


def test_names_are_those_of_mlflows_own_monitor() -> None:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor

    monitor = CPUMonitor()  # type: ignore[no-untyped-call]  # untyped in MLflow
    monitor.collect_metrics()  # type: ignore[no-untyped-call]  # untyped in MLflow
    found = SystemMonitor().sample()
    assert found is not None
    names = monitor.aggregate_metrics()  # type: ignore[no-untyped-call]  # untyped in MLflow
    assert set(names) <= set(found)
