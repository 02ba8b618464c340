"""The worker as it is really run: processes that finish, are killed, stopped, and started again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil  # type: ignore[import-untyped]  # it ships none
import pytest
import torch
from safetensors.torch import load_file

from minilingua.core.errors import EXIT_BAD_INPUT, EXIT_PREEMPTED, ParamsError
from minilingua.core.events import (
    DecisionEvent,
    EndEvent,
    StepEvent,
    read_events,
    read_telemetry,
)
from minilingua.core.plan import read_plan
from minilingua.core.tokens import open_token_file, write_token_file
from minilingua.launch.ranks import ranks_command
from minilingua.params_file import load_params
from minilingua.training import worker
from minilingua.training.profiler import profiler_window
from minilingua.training.run_directory import open_run
from minilingua.training.run_key import identify_run
from tests.training.workspace import (
    REPOSITORY,
    VOCABULARY,
    Workspace,
    make_workspace,
    write_plan_meta,
)

DROPOUT = {"hidden_dropout": 0.1, "attention_dropout": 0.1}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An uninterrupted run, as a person would start it."""
    workspace = make_workspace(tmp_path_factory.mktemp("finished") / "root", train=DROPOUT)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "minilingua.training.worker"],
        cwd=workspace.root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "step 12: validation loss" in done.stderr
    assert all(line.startswith("train: ") for line in done.stderr.splitlines())
    return workspace


def fresh_copy(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "other", train=DROPOUT)


def test_a_run_ends_with_its_outputs_and_records(finished: Workspace) -> None:
    assert finished.run_path().name == identify_run_in(finished)
    steps = [event for event in finished.events() if isinstance(event, StepEvent)]
    decisions = [event for event in finished.events() if isinstance(event, DecisionEvent)]
    assert [event.step for event in steps] == list(range(1, 13))
    assert [event.step for event in decisions] == [0, 4, 8, 12]
    assert decisions[-1].best_loss < decisions[0].loss - 0.3  # it learns
    assert isinstance(finished.events()[-1], EndEvent)
    telemetry = list(read_telemetry(finished.run_path() / "telemetry.jsonl"))
    kinds = [record["kind"] for record in telemetry]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert telemetry[-1]["status"] == "finished"
    assert kinds.count("step") == 12
    step = next(record for record in telemetry if record["kind"] == "step")
    parts = [step[f"{name}_seconds"] for name in ("data", "compute", "optimizer")]
    assert min(parts) > 0
    assert sum(parts) <= step["seconds"]
    assert step["flops_per_second"] > 0
    # One in ten seconds: more than one where the machine is busy.
    usage, *_ = [record for record in telemetry if record["kind"] == "system"]
    assert usage["step"] == 0
    assert usage["process_memory_usage_megabytes"] > 100
    assert usage["cpu_utilization_percentage"] > 0
    assert kinds.count("evaluation") == 4
    assert kinds.count("save") == 2
    saved = json.loads((finished.root / "models/megatron/model.json").read_text())
    assert saved["selected_step"] == decisions[-1].best_step


def identify_run_in(workspace: Workspace) -> str:
    before = Path.cwd()
    os.chdir(workspace.root)
    try:
        return identify_run(workspace.params).key
    finally:
        os.chdir(before)


def test_a_finished_run_is_published_again_without_training(
    finished: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = finished.outputs()
    shutil.rmtree(finished.root / "models/megatron")
    shutil.rmtree(finished.root / "reports/train")
    monkeypatch.chdir(finished.root)
    assert worker.main([]) == 0
    assert finished.outputs() == outputs
    assert "step 12 of 12 selected" in capsys.readouterr().err


@pytest.mark.parametrize("step", [3, 8])
def test_a_killed_run_ends_with_the_same_bytes(
    finished: Workspace, tmp_path: Path, step: int
) -> None:
    workspace = fresh_copy(tmp_path)
    killed = workspace.start(signalled=(f'"step":{step},', signal.SIGKILL))
    assert killed.wait() == -signal.SIGKILL
    assert not (workspace.root / "models/megatron").exists()
    workspace.train()
    assert workspace.outputs() == finished.outputs()
    telemetry = list(read_telemetry(workspace.run_path() / "telemetry.jsonl"))
    assert {record["attempt"] for record in telemetry} == {1, 2}


def test_an_interrupted_save_is_not_resumed_from(finished: Workspace, tmp_path: Path) -> None:
    workspace = fresh_copy(tmp_path)
    workspace.start(signalled=('"step":11,', signal.SIGKILL)).wait()
    for marker in workspace.run_path().glob("checkpoints/*/complete.json"):
        marker.unlink()
    errors = workspace.train()
    assert "going on" not in errors
    assert workspace.outputs() == finished.outputs()


def test_a_damaged_state_is_told_and_training_without_it_goes_on(
    finished: Workspace, tmp_path: Path
) -> None:
    workspace = fresh_copy(tmp_path)
    workspace.start(signalled=('"step":6,', signal.SIGTERM)).wait()
    (state,) = (workspace.run_path() / "checkpoints").iterdir()
    file = next(state.glob("*.distcp"))
    file.write_bytes(file.read_bytes()[:100])
    process = workspace.start()
    assert process.wait() == EXIT_BAD_INPUT
    last = process.errors().splitlines()[-1]
    relative = file.relative_to(workspace.root)
    assert last.startswith(f"train: error: {relative} has 100 bytes instead of")
    shutil.rmtree(state)  # as the message says
    workspace.train()
    assert workspace.outputs() == finished.outputs()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_stopped_run_saves_and_goes_on_from_there(
    finished: Workspace, tmp_path: Path, number: signal.Signals
) -> None:
    workspace = fresh_copy(tmp_path)
    assert workspace.start(signalled=('"step":3,', number)).wait() == EXIT_PREEMPTED
    (saved,) = (workspace.run_path() / "checkpoints").iterdir()
    assert saved.name == "step_00000003"
    assert "going on from step 3" in workspace.train()
    assert workspace.outputs() == finished.outputs()
    events = list(read_events(workspace.run_path() / "events.jsonl"))
    steps = [event.step for event in events if isinstance(event, StepEvent)]
    assert steps == list(range(1, 13))  # nothing was trained twice


def test_a_second_process_waits_for_the_first(finished: Workspace, tmp_path: Path) -> None:
    workspace = fresh_copy(tmp_path)
    first, second = workspace.start(), workspace.start()
    assert (first.wait(), second.wait()) == (0, 0)
    events = list(read_events(workspace.run_path() / "events.jsonl"))
    assert len([event for event in events if isinstance(event, StepEvent)]) == 12
    assert workspace.outputs() == finished.outputs()


def test_a_process_that_waits_for_another_can_be_stopped(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "root")
    first = workspace.start(signalled=('"step":3,', signal.SIGSTOP))
    try:
        wait_for(workspace, '"step":3,')
        second = workspace.start()
        _until(lambda: "is held by process" in second.errors())
        assert second.send(signal.SIGTERM) == EXIT_PREEMPTED, second.errors()
    finally:
        code = first.send(signal.SIGCONT)
    assert code == 0
    assert len([event for event in workspace.events() if isinstance(event, StepEvent)]) == 12


def rule_of_params() -> dict[str, object]:
    return load_params(REPOSITORY / "params.yaml").train.early_stopping.model_dump()


def test_early_stop_ends_the_training(tmp_path: Path) -> None:
    rule = {**rule_of_params(), "patience": 1, "min_delta": 9.0}
    workspace = make_workspace(tmp_path / "root", train={"early_stopping": rule})
    workspace.train()
    end = workspace.events()[-1]
    assert isinstance(end, EndEvent)
    assert (end.step, end.reason, end.best_step) == (4, "early_stop", 0)


def test_a_stop_request_at_the_last_evaluation_does_not_undo_early_stopping(tmp_path: Path) -> None:
    rule = {**rule_of_params(), "patience": 1, "min_delta": 9.0}
    whole, stopped = (
        make_workspace(tmp_path / name, train={"early_stopping": rule})
        for name in ("whole", "stopped")
    )
    whole.train()
    process = stopped.start(signalled=('"verdict":"stop"', signal.SIGTERM))
    assert process.wait() == EXIT_PREEMPTED, process.errors()
    stopped.train()
    assert stopped.outputs() == whole.outputs()


def test_weights_are_kept_that_a_kept_state_or_the_training_itself_can_select(
    tmp_path: Path,
) -> None:
    """Evaluations improve one after the other; what lies between the states is dropped."""
    rule = {**rule_of_params(), "enabled": False, "min_delta": 0.0}
    intervals = {"eval_interval": 1, "save_interval": 8, "keep_checkpoints": 2}
    workspace = make_workspace(
        tmp_path / "root", steps=24, train={"lr": 2e-3, "early_stopping": rule, **intervals}
    )
    killed = workspace.start(signalled=('"step":23,', signal.SIGKILL))
    assert killed.wait() == -signal.SIGKILL, killed.errors()
    run = workspace.run_path()
    improved = [
        event.step
        for event in workspace.events()
        if isinstance(event, DecisionEvent) and event.verdict == "improved"
    ]
    assert len(improved) > 20
    states = [int(path.name[5:]) for path in (run / "checkpoints").iterdir()]
    assert sorted(states) == [8, 16]
    kept = {int(path.name[5:13]) for path in (run / "best").glob("*.safetensors")}
    assert kept == {max(step for step in improved if step <= end) for end in (8, 16, 22)}
    shutil.rmtree(run / "checkpoints/step_00000016")  # as a damaged state's message says
    workspace.train()


def in_two_ranks(workspace: Workspace) -> subprocess.Popen[str]:
    """The worker as `minilingua train` starts it when a training takes two ranks."""
    return subprocess.Popen(
        ranks_command(2, [sys.executable, "-m", "minilingua.training.worker"]),
        cwd=workspace.root,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )


PIPELINE = {
    "tensor": 1,
    "sequence": False,
    "pipeline": 2,
    "context": 1,
    "distributed_optimizer": False,
    "fully_sharded": False,
    "overlap": False,
}


def test_a_run_in_two_ranks_ends_in_one(tmp_path: Path) -> None:
    """And publishes what one rank alone does, but for rounding."""
    alone = make_workspace(tmp_path / "alone", steps=40)
    alone.train()
    pair = make_workspace(tmp_path / "pair", steps=40)
    pair.change(train={"parallel": PIPELINE})
    process = in_two_ranks(pair)
    wait_for(pair, '"step":6,')  # with enough steps after it for a busy machine
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == EXIT_PREEMPTED, errors
    assert "pipeline 2" in errors
    pair.change(train={"parallel": {**PIPELINE, "pipeline": 1}})
    assert "going on from step" in pair.train()
    for ours, theirs in zip(alone.events(), pair.events(), strict=True):
        assert (ours.kind, ours.step) == (theirs.kind, theirs.step)
        if isinstance(ours, StepEvent):
            assert isinstance(theirs, StepEvent)
            assert ours.sample_digest == theirs.sample_digest
            assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
    one, two = (load_file(w.root / "models/megatron/model.safetensors") for w in (alone, pair))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_dead_rank_ends_the_training_with_its_error(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "root", steps=40)
    process = in_two_ranks(workspace)
    wait_for(workspace, '"step":2,')
    ranks = psutil.Process(process.pid).children()
    second = next(rank for rank in ranks if rank.environ()["RANK"] == "1")
    second.kill()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGKILL
    assert "train: rank 1: was killed by signal 9" in errors
    assert "Traceback" not in errors
    assert not any(rank.is_running() for rank in ranks)
    workspace.train()  # nothing holds the lock


def wait_for(workspace: Workspace, text: str) -> None:
    def is_there() -> bool:
        files = workspace.root.glob("runs/*/events.jsonl")
        return any(text in file.read_text(encoding="utf-8") for file in files)

    _until(is_there)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)


def test_a_loss_that_is_not_finite_is_recorded_and_the_last_state_kept(tmp_path: Path) -> None:
    """Weights of 1e30 after the first step: finite, but not what is computed with them."""
    workspace = make_workspace(
        tmp_path / "root",
        train={"lr": 1e30, "warmup_steps": 0, "save_interval": 1, "eval_interval": 100},
    )
    process = workspace.start()
    assert process.wait() == EXIT_BAD_INPUT
    said = process.errors().splitlines()[-1]
    assert re.match(r"train: error: step \d+: the (loss|gradient's norm) is (nan|inf)", said)
    assert "Traceback" not in process.errors()
    run = next(workspace.root.glob("runs/*/events.jsonl")).parent
    *_, last = read_telemetry(run / "telemetry.jsonl")
    assert (last["status"], last["error"]) == ("failed", "DivergenceError")
    assert said.endswith(last["message"])
    assert (run / "checkpoints/step_00000001/complete.json").exists()


def test_fresh_trains_anew(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(identify_run(workspace.params).key)
    run.add(EndEvent(step=1, reason="plan_complete", best_step=1, best_loss=0.0))
    run.best_path(1).parent.mkdir()
    run.best_path(1).write_bytes(b"not weights")
    from minilingua.training import session

    seen = []

    def trained(*arguments: object, is_writer: bool) -> None:
        del is_writer
        seen.append(arguments[3])
        assert sorted(path.name for path in run.path.iterdir()) == ["run.lock"]

    monkeypatch.setattr(session, "train", trained)
    assert worker.main(["--fresh"]) == EXIT_PREEMPTED
    assert seen == [None]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"train": {"attention": "te"}}, "train.attention: 'te' needs a GPU"),
        ({"train": {"min_lr": 1.0}}, "train.min_lr 1.0 exceeds train.lr 0.01"),
        ({"model": {"ffn_hidden_size": 64}}, "models/base: Hugging Face weights: "),
    ],
)
def test_bad_input_is_one_line(
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
    sections: dict[str, dict[str, object]],
    message: str,
) -> None:
    workspace.change(**sections)
    from minilingua.megatron_model import parallel
    from minilingua.training import session

    # This process is a rank already.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "initialise", lambda *_, **__: None)
        patch.setattr(session, "shut_down", lambda: None)
        assert parallel is not None
        assert worker.main([]) == EXIT_BAD_INPUT
    errors = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert errors[0].startswith("train: error: ")
    assert message in errors[0]


@pytest.mark.parametrize("arguments", [(), ("--preflight",)])
def test_a_step_that_teaches_nothing_is_told_before_any_is_trained(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """The last step's conversations are bare; those of the steps before are others."""
    workspace = make_workspace(tmp_path / "root", steps=2, packs_per_step=1)
    plan = read_plan(workspace.root / "data/plan")
    last = plan.splits["train"].pack(1)
    for code in {ref.language for ref in last}:
        path = workspace.root / "data/tokens/train" / code
        file = open_token_file(path)
        rows = [file[row] for row in range(len(file))]
        for ref in last:
            if ref.language == code:
                rows[ref.row] = replace(
                    rows[ref.row], loss_mask=np.zeros_like(rows[ref.row].loss_mask)
                )
        shutil.rmtree(path)
        write_token_file(path, rows, vocab_size=VOCABULARY, tokenizer_digest="t" * 64)
    write_plan_meta(workspace.root, token_digests={})
    process = workspace.start(*arguments)
    assert process.wait() == EXIT_BAD_INPUT
    said = process.errors().splitlines()[-1]
    assert said == "train: error: data/plan: step 2 of train has no supervised token"


def test_missing_inputs_are_one_line(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(workspace.root / "data/plan")
    assert worker.main([]) == EXIT_BAD_INPUT
    assert "train: error: data/plan is missing" in capsys.readouterr().err


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from minilingua.training import worker\n"
        "try: worker.main(['--help'])\n"
        "finally: assert not {'torch', 'numpy', 'matplotlib', 'megatron'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--fresh" in done.stdout


def test_a_stop_while_it_starts_is_heard(tmp_path: Path) -> None:
    """Before anything is trained there is nothing to save; the exit code asks to go on."""
    workspace = make_workspace(tmp_path / "root")
    process = workspace.start()
    while not list(workspace.root.glob("runs/*/run.lock")):
        time.sleep(0.001)
    assert process.send(signal.SIGTERM) == EXIT_PREEMPTED, process.errors()
    assert "Traceback" not in process.errors()
    workspace.train()
    assert "plan_complete" in (workspace.run_path() / "events.jsonl").read_text(encoding="utf-8")


def test_a_window_of_steps_is_profiled_and_changes_nothing(
    finished: Workspace, tmp_path: Path
) -> None:
    workspace = fresh_copy(tmp_path)
    process = workspace.start(MINILINGUA_PROFILE="3:2")
    assert process.wait() == 0, process.errors()
    (trace,) = (workspace.run_path() / "profile").iterdir()
    assert trace.name == "steps_3_to_4_rank_0.json"
    assert json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    assert workspace.outputs() == finished.outputs()


@pytest.mark.parametrize("asked", ["3", "0:2", "3:0", "a:b", "3:2:1"])
def test_a_window_that_is_none_is_one_line(asked: str) -> None:
    with pytest.raises(ParamsError, match=f"MINILINGUA_PROFILE={asked}: expected FIRST:COUNT"):
        profiler_window(Path(), 0, {"MINILINGUA_PROFILE": asked})
    assert profiler_window(Path(), 0, {}).count == 0
