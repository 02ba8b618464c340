import sys
from pathlib import Path

import pytest

from minilingua.core.errors import EXIT_PREEMPTED, LaunchError
from minilingua.launch import train
from minilingua.params import Params
from minilingua.params_file import load_params

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINILINGUA_TRACKING", "off")
    monkeypatch.delenv("MINILINGUA_CLUSTER", raising=False)
    return load_params(REPOSITORY / "params.yaml")


def test_the_worker_is_a_program_of_its_own_and_takes_no_flags() -> None:
    assert train.worker_command() == [sys.executable, "-m", "minilingua.training.worker"]


@pytest.mark.parametrize("code", [0, 2, EXIT_PREEMPTED])
def test_the_workers_exit_code_is_ours(
    params: Params, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    command = [sys.executable, "-c", f"raise SystemExit({code})"]
    monkeypatch.setattr(train, "worker_command", lambda: command)
    assert train.run(params) == code


def test_an_unknown_place_is_one_line(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINILINGUA_CLUSTER", "loacl")
    with pytest.raises(LaunchError, match="did you mean 'local'"):
        train.run(params)
