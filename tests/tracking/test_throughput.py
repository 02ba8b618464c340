from pathlib import Path
from typing import Any

import pytest

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.events import TelemetryWriter
from minilingua.provenance.waterfall import waterfall
from minilingua.tracking.throughput import main

STEP: dict[str, Any] = {
    "kind": "step",
    "attempt": 1,
    "seconds": 2.0,
    "data_seconds": 0.1,
    "compute_seconds": 1.5,
    "optimizer_seconds": 0.3,
    "tokens_per_second": 1000.0,
    "supervised_tokens_per_second": 250.0,
    "conversations_per_second": 10.0,
    "flops_per_second": 4e9,
    "mfu": 0.4,
    "memory_mb": 100.0,
}


def records(**start: Any) -> list[dict[str, Any]]:
    """Two steps of 2 s, an evaluation of 1 s, a save of 0.5 s, 10 s in all."""
    return [
        {"kind": "start", "attempt": 1, "time": 100.0, **start},
        {**STEP, "step": 1, "time": 103.0},
        {**STEP, "step": 2, "time": 105.0, "memory_mb": 120.0},
        {"kind": "evaluation", "attempt": 1, "time": 107.0, "seconds": 1.0},
        {"kind": "save", "attempt": 1, "time": 108.0, "seconds": 0.5},
        {"kind": "end", "attempt": 1, "time": 110.0},
    ]


def test_every_line_adds_what_takes_time() -> None:
    found = waterfall(records(), Path("run"))
    rates = {stage.name: stage.tokens_per_second for stage in found.stages}
    seconds = {name: 4000 / rate for name, rate in rates.items()}
    assert seconds == pytest.approx(
        {
            "forward and backward": 3.0,
            "optimizer": 3.6,
            "waiting for data": 3.8,
            "bookkeeping": 4.0,
            "evaluations": 5.0,
            "saving": 5.5,
            "start and the rest": 10.0,
        }
    )
    assert found.stages[1].lost == pytest.approx(1 - 3 / 3.6)
    assert found.supervised_share == 0.25
    assert found.supervised_tokens_per_second == pytest.approx(100.0)
    assert (found.steps, found.replayed, found.memory_mb) == (2, 0, 120.0)
    assert found.mfu == 0.4


def test_a_known_peak_is_the_first_line() -> None:
    first = waterfall(records(peak_flops=1e10), Path("run")).stages[0]
    assert first.name == "peak of the device"
    assert first.tokens_per_second == pytest.approx(1e10 / 4e6)  # 4e9 x 4 s over 4000 tokens
    assert all(stage.name != first.name for stage in waterfall(records(), Path("run")).stages)


def test_attempts_add_up_and_replayed_steps_are_told() -> None:
    again = [{**record, "attempt": 2, "time": record["time"] + 1000} for record in records()]
    found = waterfall([*records(), *again], Path("run"))
    assert found.seconds == 20.0
    assert found.replayed == 2


def test_the_command_reads_the_current_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingInputError, match="runs/current is missing"):
        main([])
    run = Path("runs/key")
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    (run.parent / "current").write_text("key\n")
    with pytest.raises(MissingInputError, match=r"key/telemetry\.jsonl is missing"):
        main([])
    writer = TelemetryWriter(path=run / "telemetry.jsonl", attempt=1)
    writer.write("start")
    with pytest.raises(DataError, match="holds no step"):
        main([])
    writer.write("step", **{k: v for k, v in STEP.items() if k not in {"kind", "attempt"}}, step=1)
    assert main(["k"]) == 0
    shown = capsys.readouterr().out
    assert "waiting for data" in shown
    assert "75.0%" in shown  # prompts
    assert "model-FLOPs utilisation 40.0%" in shown
