import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minilingua.core.errors import LaunchError
from minilingua.launch import ranks
from minilingua.launch.ranks import local_ranks, ranks_command, visible_gpus
from minilingua.params import Params
from minilingua.params_file import load_params

REPOSITORY = Path(__file__).parents[2]


def command(program: str, number: int = 2) -> list[str]:
    """``program`` sees its rank as ``rank``."""
    setup = "import os, signal, sys, time; rank = int(os.environ['RANK'])\n"
    return ranks_command(number, [sys.executable, "-c", setup + program])


def run(program: str, number: int = 2) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(program, number), capture_output=True, text=True, timeout=60, check=False
    )


def params_with(**parallel: int) -> Params:
    params = load_params(REPOSITORY / "params.yaml")
    layout = params.train.parallel.model_copy(update=parallel)
    train = params.train.model_copy(update={"parallel": layout})
    return params.model_copy(update={"train": train})


def test_each_rank_knows_its_place_and_only_the_first_one_speaks() -> None:
    done = run(
        "names = ['WORLD_SIZE', 'LOCAL_RANK', 'GLOO_SOCKET_IFNAME']\n"
        "print(rank, [os.environ[name] for name in names])\n"
        "print('error', rank, file=sys.stderr)",
        3,
    )
    assert done.returncode == 0
    assert done.stdout == "0 ['3', '0', 'lo']\n"
    assert done.stderr == "error 0\n"


def test_they_share_a_rendezvous_that_is_gone_afterwards(tmp_path: Path) -> None:
    run(f"open(r'{tmp_path}/' + str(rank), 'w').write(os.environ['MINILINGUA_RENDEZVOUS'])")
    first, second = ((tmp_path / name).read_text() for name in ("0", "1"))
    assert first == second
    assert not Path(first).parent.exists()


def test_a_dead_rank_ends_the_others_and_its_error_is_shown(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ranks, "GRACE_S", 0.3)
    program = "sys.exit('no memory left') if rank == 1 else time.sleep(100)"
    began = time.monotonic()
    assert ranks.run_ranks(2, command(program)[4:]) == 1
    assert time.monotonic() - began < 60  # the bound, not the machine: nobody sleeps for 100 s
    errors = capfd.readouterr().err
    assert "train: rank 1: no memory left" in errors
    assert "train: rank 1: ended with exit code 1" in errors


def test_a_killed_rank_is_named(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ranks, "GRACE_S", 0.3)
    program = "os.kill(os.getpid(), signal.SIGKILL) if rank == 1 else time.sleep(100)"
    assert ranks.run_ranks(2, command(program)[4:]) == 128 + signal.SIGKILL
    assert "train: rank 1: was killed by signal 9" in capfd.readouterr().err


def test_the_rank_that_was_lost_is_shown_not_the_one_that_lost_it() -> None:
    done = run(
        "if rank == 0: sys.stderr.write('lost\\n'); sys.exit(76)\n"
        "time.sleep(0.5); sys.stderr.write('why\\n'); sys.exit(1)"
    )
    assert done.returncode == 1
    assert done.stderr == ("lost\ntrain: rank 1: ended with exit code 1\ntrain: rank 1: why\n")


def test_an_error_that_all_ranks_have_is_shown_once() -> None:
    done = run("sys.stderr.write('train: error: bad\\n'); sys.exit(2)")
    assert done.returncode == 2
    assert done.stderr == "train: error: bad\n"


def test_signals_reach_every_rank(tmp_path: Path) -> None:
    program = (
        "def note(number, frame):\n"
        f"    open(r'{tmp_path}/signal' + str(rank), 'w').write(str(number)); sys.exit(75)\n"
        "signal.signal(signal.SIGUSR1, note)\n"
        f"open(r'{tmp_path}/ready' + str(rank), 'w').close()\n"
        "time.sleep(60)"
    )
    process = subprocess.Popen(command(program))
    while len(list(tmp_path.glob("ready*"))) < 2:
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 75
    assert {file.name for file in tmp_path.glob("signal*")} == {"signal0", "signal1"}


def test_ranks_are_as_few_as_the_layout_needs_or_what_the_environment_says() -> None:
    nothing = {"CUDA_VISIBLE_DEVICES": ""}
    assert local_ranks(params_with(), nothing) == 1
    assert local_ranks(params_with(tensor=2, pipeline=5), nothing) == 10
    assert local_ranks(params_with(), {"MINILINGUA_RANKS": "4"}) == 4
    for wrong in ("0", "two", "-1"):
        with pytest.raises(LaunchError, match=f"MINILINGUA_RANKS={wrong}: expected a number"):
            local_ranks(params_with(), {"MINILINGUA_RANKS": wrong})


def test_gpus_are_counted_without_loading_cuda(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert visible_gpus({}, tmp_path / "nothing") == 0
    for name in ("0000:01", "0000:02", "0000:03"):
        (tmp_path / name).mkdir()
    assert visible_gpus({}, tmp_path) == 3
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "2,0"}, tmp_path) == 2
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": "-1"}, tmp_path) == 0
    monkeypatch.setattr(ranks, "_GPUS", tmp_path)
    monkeypatch.setattr(ranks, "visible_gpus", lambda _: 3)
    assert local_ranks(params_with(), os.environ) == 3
    assert local_ranks(params_with(tensor=2), os.environ) == 2
