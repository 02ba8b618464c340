"""Every benchmark at its shortest, on real data: it runs, and its result is well formed."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks import (
    checkpoint,
    command_line,
    conversion,
    data_stages,
    generation,
    tokenization,
    tracking,
    training_step,
    training_waits,
)
from benchmarks.training_step import Duel
from minilingua.megatron_model.megatron import quiet
from tests.pipeline.workspace import ROOT, Workspace
from tests.tracking.workspace import Workspace as Trained

Main = Callable[[Sequence[str] | None], int]


def result_of(main: Main, ready: Path | None, output: Path, *arguments: str) -> dict[str, Any]:
    """Runs a benchmark and returns what it wrote, after checking what all of them promise."""
    common = ["--short", "--repetitions", "1", "--output", str(output)]
    if ready is not None:
        common += ["--line", str(ready)]
    with quiet():  # transformers and datasets warn of their own future
        assert main([*common, *arguments]) == 0
    (file,) = output.glob("*.json")
    result: dict[str, Any] = json.loads(file.read_text())
    assert file.with_suffix(".md").exists()
    assert result["rows"]
    for item in result["rows"]:
        assert item["ratio"] > 0
        assert item["seconds"] >= 0
        assert item["repetitions"] >= 1
    assert result["machine"]["packages"]["torch"]
    return result


def test_training_step(ready: Path, tmp_path: Path) -> None:
    result = result_of(training_step.main, ready, tmp_path)
    assert [item["target"] for item in result["rows"]] == [1.5, None, 0.95, None, 0.95, None]
    differences = result["checks"]["largest_relative_difference_of_losses"]
    assert len(differences) == 3
    assert all(difference <= training_step.TOLERANCE for difference in differences.values())


def test_other_losses_end_the_comparison() -> None:
    duel = Duel(engine=None, clock=None, theirs=None, documents=None)  # type: ignore[arg-type]  # not trained
    duel._compare("ours", 0, 5.0, 1.0)
    duel._compare("transformers", 0, 5.0001, 1.0)
    duel._compare("transformers", 1, 5.0, 1.0)
    with pytest.raises(SystemExit, match="void: at step 2 our loss is 5"):
        duel._compare("ours", 1, 5.001, 1.0)
    duel._compare("ours", 2, 5.0, 1.0)
    with pytest.raises(SystemExit, match=r"gradient norm 1\.00000.*transformers 5\.000000 \(1\.01"):
        duel._compare("transformers", 2, 5.0, 1.01)


def test_tokenization(ready: Path, tmp_path: Path) -> None:
    result = result_of(tokenization.main, ready, tmp_path)
    against = " ".join(item["against"] for item in result["rows"])
    assert "encode_batch" in against
    assert "apply_chat_template" in against
    assert ("SFTTrainer" in against) == (find_spec("trl") is not None)
    sample, long = result["checks"]["sample"], result["checks"]["long"]
    assert 0 < sample["supervised_tokens"] < sample["tokens"]
    assert long["conversations"] < sample["conversations"]


def test_checkpoint(ready: Path, tmp_path: Path) -> None:
    result = result_of(checkpoint.main, ready, tmp_path)
    cases = [item["case"] for item in result["rows"]]
    assert [case.split(": ")[1] for case in cases] == [
        "save",
        "load",
        "load without its check",
        "save",
        "load",
    ]
    sizes = result["checks"]["bytes"]["smoke"]
    assert sizes["state"] > 2 * sizes["weights"]  # weights and two moments


def test_training_waits(ready: Path, tmp_path: Path) -> None:
    result = result_of(training_waits.main, ready, tmp_path)
    data, save = result["rows"]
    assert (data["against"], save["against"]) == ("2% of the step", "5% of 100 steps")
    assert [item["target"] for item in (data, save)] == [1.0, 1.0]
    assert result["checks"]["most_steps_while_a_state_is_written"]["smoke"] >= 1


def test_data_stages(tmp_path: Path) -> None:
    result = result_of(data_stages.main, None, tmp_path)
    stages = result["checks"]["stages"]
    assert [item["stage"] for item in stages] == [*data_stages.STAGES] * 2
    for item in stages:
        assert item["cpu_seconds"] > 0
        assert 10 < item["peak_megabytes"] < 2000
    curate, tokenize = (stages[place] for place in (6, 8))
    assert curate["rows"] == pytest.approx(data_stages.SHORT, rel=0.02)
    dropped = result["checks"]["dropped_by_curate"]
    assert tokenize["rows"] == curate["rows"] - sum(dropped.values()) > 0.9 * curate["rows"]
    assert dropped["duplicate"] > 0
    assert 100 < tokenize["tokens"] / tokenize["rows"] < 220  # as many as the published run's
    figures, verdicts = result["tables"]
    assert len(figures["rows"]) == len(stages)
    assert [what for what, *_ in verdicts["rows"] if "fill" in what] == ["pack: fill"]
    assert result["checks"]["fill"]["ours"] > result["checks"]["fill"]["next fit"]


def test_too_small_a_corpus_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        data_stages.main(["--conversations", "100"])
    assert "a tenth of 100 conversations is less than a step" in capsys.readouterr().err


def test_conversion(ready: Path, tmp_path: Path) -> None:
    result = result_of(conversion.main, ready, tmp_path)
    assert [item["target"] for item in result["rows"]] == [0.7, 0.7]
    assert result["checks"]["bytes"]["smoke"] > 100_000


def test_generation(ready: Path, tmp_path: Path) -> None:
    result = result_of(generation.main, ready, tmp_path)
    (item,) = result["rows"]
    assert item["target"] == 3.0
    assert result["checks"]["same_answers"] >= 0.98 * result["checks"]["prompts"]


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")  # of MLflow
def test_tracking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(tracking, "STEPS", {True: 2_000})  # enough for a backlog
    line = Trained(root=tmp_path / "line")
    line.train()
    for name in ("params.yaml", "dvc.yaml"):
        (line.root / name).write_bytes((ROOT / name).read_bytes())
    result = result_of(tracking.main, line.root, tmp_path / "results")
    assert [item["target"] for item in result["rows"]] == [1.0] * 4
    assert result["checks"]["median_step_seconds"] == 1.0
    assert 0 < result["checks"]["share_of_step_time"] < 1
    with pytest.raises(SystemExit, match="holds no training"):
        tracking.main(["--short", "--line", str(tmp_path / "results")])


@pytest.mark.pipeline
def test_command_line(tmp_path: Path) -> None:
    repository = Workspace(path=tmp_path / "repository")
    repository.path.mkdir()
    repository.run("git", "init", "--quiet")
    repository.run("dvc", "init", "--quiet")
    (repository.path / "dvc.yaml").write_text("stages: {fetch: {cmd: echo a > a, outs: [a]}}\n")
    assert repository.repro() == ["fetch"]
    result = result_of(command_line.main, repository.path, tmp_path / "results")
    assert [item["measure"] for item in result["rows"]] == ["time"] * 4
    (repository.path / "a").write_text("b\n")
    with pytest.raises(SystemExit, match="not everything is up to date"):
        result_of(command_line.main, repository.path, tmp_path / "other")


@pytest.mark.parametrize(
    "module",
    [checkpoint, command_line, conversion, data_stages, generation, tokenization, training_step],
    ids=lambda item: item.__name__,
)
def test_help_says_how_to_run(module: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        module.main(["--help"])
    said = capsys.readouterr().out
    assert f"python -m {module.__name__}" in said
    assert "--short" in said


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom benchmarks.training_step import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
