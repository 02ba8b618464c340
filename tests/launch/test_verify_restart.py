"""The command itself, on a small training of its own; what it must notice, on made-up records."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from minilingua.core.errors import LaunchError, ParamsError, ParityError
from minilingua.core.events import EndEvent, Event, StepEvent
from minilingua.core.files import tree_digest
from minilingua.core.plan import read_plan
from minilingua.launch import verify_restart
from minilingua.launch.restart_comparison import event_difference
from minilingua.launch.verify_restart import first_steps, main, shortened
from tests.training.workspace import make_workspace

STEP = StepEvent(
    step=1,
    loss=2.0,
    learning_rate=0.1,
    grad_norm=1.0,
    tokens=10,
    supervised_tokens=4,
    conversations=2,
    sample_digest="a" * 16,
)
END = EndEvent(step=2, reason="plan_complete", best_step=2, best_loss=1.0)
EVENTS: list[Event] = [STEP, replace(STEP, step=2), END]


def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    workspace = make_workspace(
        tmp_path / "root", steps=24, train={"hidden_dropout": 0.1, "save_interval": 7}
    )
    monkeypatch.chdir(workspace.root)
    return workspace.root


def test_a_restart_is_certified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = prepared(tmp_path, monkeypatch)
    before = tree_digest(root)
    assert main(["--steps", "20", "--output", str(tmp_path / "certificate.json")]) == 0
    assert tree_digest(root) == before
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    assert certificate["verdict"] == "equal"
    assert certificate["compared"]["steps"] == 20
    assert certificate["compared"]["evaluations"] == 3
    assert certificate["compared"]["state_step"] == 15
    assert certificate["compared"]["state_sha256"]
    assert certificate["killed"]["last_step"] >= certificate["killed"]["asked"]
    assert 5 <= certificate["killed"]["resumed_from"] <= certificate["killed"]["last_step"]
    assert "every sample id, loss and weight is equal" in capsys.readouterr().out


def test_a_restart_that_differs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second training gets another base: nothing of it can be equal."""
    prepared(tmp_path, monkeypatch)
    make = verify_restart._directory

    def changed(path: Path, root: Path, *arguments: object) -> object:
        training = make(path, root, *arguments)  # type: ignore[arg-type]  # passed on
        if path.name == "restarted":
            other = make_workspace(tmp_path / "other", model={"rope_base": 500.0}, steps=1)
            (path / "params.yaml").write_text(
                (path / "params.yaml").read_text().replace("rope_base: 10000.0", "rope_base: 500.0")
            )
            assert other.root.exists()
        return training

    monkeypatch.setattr(verify_restart, "_directory", changed)
    output = tmp_path / "certificate.json"
    with pytest.raises(ParityError, match=r"evaluation 0: loss is .* uninterrupted, .* restarted"):
        main(["--steps", "20", "--output", str(output)])
    assert json.loads(output.read_text())["verdict"] == "different"


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (EVENTS, None),
        ([replace(STEP, sample_digest="b" * 16), *EVENTS[1:]], "step 1: sample_digest is 'aaaa"),
        ([STEP, replace(STEP, step=2, loss=2.0000000000000004), END], "step 2: loss is 2.0 unint"),
        ([STEP, END], "step 2 of the uninterrupted training faces end 2 of the restarted one"),
        (EVENTS[:-1], "3 records uninterrupted, 2 restarted"),
    ],
)
def test_the_first_difference_is_named(found: list[Event], message: str | None) -> None:
    difference = event_difference(EVENTS, found)
    assert (difference is None) if message is None else (difference or "").startswith(message)


def test_a_training_that_cannot_run_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = prepared(tmp_path, monkeypatch)
    (root / "models/base/model.safetensors").write_bytes(b"")
    with pytest.raises(LaunchError, match=r"exit code 2: models/base/model\.safetensors"):
        main(["--steps", "20"])
    with pytest.raises(ParamsError, match="--steps 3: at least 8 are needed"):
        main(["--steps", "3"])
    with pytest.raises(ParamsError, match="--steps 99: the plan has 24"):
        main(["--steps", "99"])
    with pytest.raises(ParamsError, match="is not empty"):
        main(["--scratch", str(root)])


def test_everything_happens_in_the_steps_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = prepared(tmp_path, monkeypatch)
    plan = read_plan(root / "data/plan")
    cut = first_steps(plan, 9)
    assert cut.splits["train"].steps == 9
    assert [cut.splits["train"].pack(n) for n in range(36)] == [
        plan.splits["train"].pack(n) for n in range(36)
    ]
    assert cut.splits["validation"] is plan.splits["validation"]
    from minilingua.params_file import load_params

    params = load_params()
    train = shortened(params, 8).train
    assert (train.save_interval, train.eval_interval, train.warmup_steps) == (2, 4, 2)
    assert not train.early_stopping.enabled
    long = params.train.model_copy(update={"warmup_steps": 50, "decay_steps": 200})
    train = shortened(params.model_copy(update={"train": long}), 8).train
    assert (train.warmup_steps, train.decay_steps) == (4, 4)  # as schedule wsd needs it
