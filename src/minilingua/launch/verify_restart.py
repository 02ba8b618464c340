"""`minilingua verify-restart`: kills a training and certifies that its restart lost nothing.

    your configuration, ─┬─► A: trained without interruption ──────────────────────┐
    N steps              └─► B: kill -9 at a random step ─► started again ─► end ──┴─► equal?

Sample ids, losses, gradient norms, learning rates and evaluations of every step, weights and
moments of the last state, and the published weights have to be equal bit for bit. It works in a
directory of its own and touches neither runs/ nor the stages' outputs.
"""

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from tqdm import tqdm

from minilingua.core.errors import LaunchError, ParamsError, ParityError
from minilingua.core.events import StepEvent, read_telemetry
from minilingua.core.files import require, write_json
from minilingua.core.plan import PackPlan, SplitPlan, read_plan, write_plan
from minilingua.launch.ranks import local_ranks, ranks_command
from minilingua.launch.restart_comparison import Comparison, Training, compare
from minilingua.launch.train import worker_command
from minilingua.params import Params
from minilingua.params_file import load_params
from minilingua.training.layout import plan_layout

CERTIFICATE = Path("runs/restart_certificate.json")
_LEAST_STEPS = 8
_SMOKE_STAGES = ("fetch", "mcqa", "curate", "tokenizer", "base", "tokenize", "pack")
_LINKED = ("dvc.yaml", "containers", "src", "data/tokens", "models/base")
_POLL_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kill:
    """When training B was killed."""

    asked: int
    """Drawn step."""
    last_step: int
    """Last step on record."""
    resumed_from: int
    """Step of the state that the restart went on from."""


def main(argv: Sequence[str]) -> int:
    """Runs both trainings and writes the certificate.

    Raises:
        ParityError: they differ; the certificate says where first.
        LaunchError: a training failed or could not be killed in time.
    """
    parser = argparse.ArgumentParser(
        prog="minilingua verify-restart",
        description="Trains twice, once without interruption and once killed at a random step and "
        "started again, and compares every sample id, loss and weight. Touches no output.",
    )
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="the first N steps of your own params.yaml and data; without it the experiment "
        "'smoke' on data made for it",
    )
    parser.add_argument(
        "--output", type=Path, default=CERTIFICATE, help="certificate (default: %(default)s)"
    )
    parser.add_argument(
        "--scratch", type=Path, help="where to work, kept afterwards (default: a temporary one)"
    )
    arguments = parser.parse_args(argv)
    if arguments.steps is not None and arguments.steps < _LEAST_STEPS:
        raise ParamsError(f"--steps {arguments.steps}: at least {_LEAST_STEPS} are needed")
    if arguments.scratch is not None:
        arguments.scratch.mkdir(parents=True, exist_ok=True)
        if any(arguments.scratch.iterdir()):
            raise ParamsError(f"--scratch {arguments.scratch}: is not empty")
    began = time.monotonic()
    temporary = tempfile.TemporaryDirectory(prefix="minilingua-restart-")
    with nullcontext(arguments.scratch) if arguments.scratch else temporary as scratch:
        root = Path.cwd() if arguments.steps is not None else _smoke(Path(scratch) / "smoke")
        params = load_params(root / "params.yaml")
        comparison, kill = _verify(params, root, Path(scratch).resolve(), arguments.steps)
    _certify(arguments.output, params, comparison, kill, time.monotonic() - began)
    if comparison.first_difference is not None:
        exact = params.train.profile == "bitwise"
        hint = "" if exact else "; profile 'fast' promises no equal bits"
        raise ParityError(
            f"the restarted training is not the uninterrupted one: {comparison.first_difference}"
            f"{hint} ({arguments.output})"
        )
    print(  # noqa: T201 - the result
        f"{comparison.steps} steps, killed after step {kill.last_step}, gone on from step "
        f"{kill.resumed_from}: every sample id, loss and weight is equal ({arguments.output})"
    )
    return 0


def shortened(params: Params, steps: int) -> Params:
    """Returns the same training with all that has to happen in it happening in ``steps``."""
    train = params.train
    warmup = min(train.warmup_steps, steps // 2)
    return params.model_copy(
        update={
            "train": train.model_copy(
                update={
                    "save_interval": max(1, steps // 4),
                    "eval_interval": max(1, steps // 2),
                    "warmup_steps": warmup,
                    "decay_steps": min(train.decay_steps, steps - warmup),
                    "early_stopping": train.early_stopping.model_copy(update={"enabled": False}),
                }
            )
        }
    )


def first_steps(plan: PackPlan, steps: int) -> PackPlan:
    """Returns the plan cut after ``steps`` steps.

    Raises:
        ParamsError: it has fewer.
    """
    whole = plan.splits["train"]
    if steps > whole.steps:
        raise ParamsError(f"--steps {steps}: the plan has {whole.steps}")
    packs = int(whole.step_offsets[steps])
    cut = SplitPlan(
        conversations=whole.conversations[: int(whole.pack_offsets[packs])],
        pack_offsets=whole.pack_offsets[: packs + 1],
        step_offsets=whole.step_offsets[: steps + 1],
    )
    return PackPlan(
        sequence_length=plan.sequence_length, splits={**plan.splits, "train": cut}, meta=plan.meta
    )


def _verify(
    params: Params, root: Path, scratch: Path, steps: int | None
) -> tuple[Comparison, _Kill]:
    plan = read_plan(root / "data/plan")
    steps = steps or plan.splits["train"].steps
    params, plan = shortened(params, steps), first_steps(plan, steps)
    ranks = local_ranks(params)
    plan_layout(params, ranks)
    command = worker_command() if ranks == 1 else ranks_command(ranks, worker_command())
    names = ("uninterrupted", "restarted")
    through, restarted = (_directory(scratch / name, root, params, plan) for name in names)
    # A state is there by then, and the last one is still to come.
    interval = params.train.save_interval
    asked = interval + 1 + secrets.randbelow(max(1, steps // 2 - interval))
    with tqdm(total=3, desc="uninterrupted", unit="run", disable=None) as progress:
        _finish(command, through)
        progress.update()
        progress.set_description(f"killed at step {asked}")
        last = _kill(command, restarted, asked)
        progress.update()
        progress.set_description("started again")
        _finish(command, restarted)
        progress.update()
    if last >= through.last_state()[0]:
        raise LaunchError(
            f"step {last} was over before the training could be killed; use more --steps"
        )
    return compare(through, restarted), _Kill(
        asked=asked, last_step=last, resumed_from=_resumed_from(restarted)
    )


def _smoke(path: Path) -> Path:
    """Runs the line up to the training, in its smallest form; returns its root."""
    path.mkdir(parents=True)
    for name in ("conf", "dvc.yaml", "containers", "src", "sources.lock"):
        (path / name).symlink_to(require(Path(name)).resolve())
    program = [sys.executable, "-m", "minilingua"]
    _run([*program, "configure", "experiment=smoke"], path)
    for stage in tqdm(_SMOKE_STAGES, desc="data", unit="stage", disable=None):
        _run([*program, stage], path)
    return path


def _directory(path: Path, root: Path, params: Params, plan: PackPlan) -> Training:
    """Makes a directory that the worker can train in."""
    for name in _LINKED:
        link = path / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(require(root / name).resolve())
    (path / "data/plan").mkdir()
    write_plan(path / "data/plan", plan)
    yaml = YAML()
    with (path / "params.yaml").open("w", encoding="utf-8") as stream:
        yaml.dump(params.model_dump(mode="json"), stream)
    return Training(root=path)


def _run(command: Sequence[str], directory: Path) -> None:
    done = subprocess.run(  # noqa: S603 - our own program
        command,
        cwd=directory,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode != 0:
        raise LaunchError(_failure(command, done.returncode, done.stderr))


def _finish(command: Sequence[str], training: Training) -> None:
    _run(command, training.root)


def _kill(command: Sequence[str], training: Training, step: int) -> int:
    """Kills the training, all its processes, once ``step`` is on record; returns the last step."""
    log = training.root / "errors"
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command,
            cwd=training.root,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        try:
            while process.poll() is None and not _reached(training.root, step):
                time.sleep(_POLL_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
    if code != -signal.SIGKILL:
        if code == 0:
            raise LaunchError("the training was over before it could be killed; use more --steps")
        raise LaunchError(_failure(command, code, log.read_bytes()))
    return max(event.step for event in training.events() if isinstance(event, StepEvent))


def _reached(root: Path, step: int) -> bool:
    """Tells whether the step is on record and there is a state to go on from."""
    events = next(iter(root.glob("runs/*/events.jsonl")), None)
    if events is None or not any(root.glob("runs/*/checkpoints/*/complete.json")):
        return False
    lines = events.read_text(encoding="utf-8").split("\n")[:-1]
    records = [json.loads(line) for line in lines]
    return any(record["kind"] == "step" and record["step"] >= step for record in records)


def _resumed_from(training: Training) -> int:
    """Returns the step that the second attempt went on from."""
    second = [
        record
        for record in read_telemetry(training.run / "telemetry.jsonl")
        if record.get("attempt") == 2 and record.get("kind") == "step"
    ]
    return int(second[0]["step"]) - 1 if second else 0


def _environment() -> Mapping[str, str]:
    return {**os.environ, "MINILINGUA_TRACKING": "off"}


def _failure(command: Sequence[str], code: int, errors: bytes) -> str:
    lines = errors.decode(errors="replace").strip().splitlines()
    said = lines[-1].removeprefix("train: error: ") if lines else "nothing on standard error"
    return f"{' '.join(command[2:])} ended with exit code {code}: {said}"


def _certify(
    path: Path, params: Params, comparison: Comparison, kill: _Kill, seconds: float
) -> None:
    certificate: dict[str, Any] = {
        "verdict": "equal" if comparison.first_difference is None else "different",
        "experiment": params.experiment,
        "model": params.model.name,
        "profile": params.train.profile,
        "precision": params.train.precision,
        "dropout": [params.train.hidden_dropout, params.train.attention_dropout],
        "parallel": params.train.parallel.model_dump(mode="json"),
        "threads": params.train.threads,
        "killed": asdict(kill),
        "compared": asdict(comparison),
        "seconds": round(seconds, 1),
    }
    write_json(path, certificate)
