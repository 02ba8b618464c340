"""Jobs of a real Slurm: submitted once, followed again, stopped by a limit, killed, cancelled."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # it ships no type information
import pytest

from minilingua.core.events import read_telemetry
from minilingua.launch.slurm_client import LIVE, find_by_name
from tests.infra.conftest import Images
from tests.infra.parts import need, output, run_at
from tests.pipeline.workspace import ROOT, Workspace

pytestmark = [pytest.mark.infra, pytest.mark.timeout(600)]

CLUSTER = {"MINILINGUA_CLUSTER": "local-test"}
CLUSTER_FILE = "slurm/clusters/local-test.yaml"
PATIENCE = 180
_AS_IN_A_TERMINAL = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # whoever runs the tests
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def workspace(prepared: Workspace, tmp_path: Path) -> Iterator[Workspace]:
    """A copy to train in; no job of it is left behind."""
    need("slurm")
    made = prepared.copy(tmp_path / "a checkout")
    yield made
    made.run("minilingua", "cancel")


class Client:
    """`minilingua train` in the background, as `dvc repro` would run it, or something else."""

    def __init__(
        self,
        workspace: Workspace,
        *command: str,
        place: Mapping[str, str] = CLUSTER,
    ) -> None:
        self.workspace = workspace
        self._errors = workspace.path.with_name(f"client-{time.monotonic_ns()}")
        with self._errors.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _AS_IN_A_TERMINAL, *(command or ("minilingua", "train"))],
                cwd=workspace.path,
                env={**workspace.environment(), **place},
                stderr=stream,
                start_new_session=True,
            )

    def said(self) -> str:
        return self._errors.read_text(encoding="utf-8")

    def end(self) -> int:
        return self.process.wait(timeout=PATIENCE)

    def await_text(self, text: str) -> None:
        self._await(lambda: text in self.said())

    def await_step(self, step: int) -> None:
        """Waits until the job has trained a step."""
        self._await(lambda: any(f'"step":{step},' in text for text in self._events()))

    def worker(self) -> psutil.Process:
        """The process that trains."""
        return worker_of(self.workspace)

    def _events(self) -> list[str]:
        return [f.read_text() for f in self.workspace.path.glob("runs/*/events.jsonl")]

    def _await(self, moment: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not moment():
            assert self.process.poll() is None, f"it ended: {self.said()}"
            assert time.monotonic() < deadline, f"waited too long: {self.said()}"
            time.sleep(0.05)


def worker_of(workspace: Workspace) -> psutil.Process:
    start = [r for r in telemetry(workspace) if r["kind"] == "start"][-1]
    return psutil.Process(int(str(start["pid"])))


def telemetry(workspace: Workspace) -> list[dict[str, object]]:
    files = list(workspace.path.glob("runs/*/telemetry.jsonl"))
    return list(read_telemetry(files[0])) if files else []


def in_background(workspace: Workspace, *script: str) -> int:
    """Submits a script of ``slurm/`` as a person does; returns the job's id."""
    workspace.run("minilingua", "slurm", "--cluster", "local-test")
    return int(workspace.run("sbatch", "--parsable", *script).stdout)


def await_true(moment: Callable[[], bool], told: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not moment():
        assert time.monotonic() < deadline, f"waited too long: {told()}"
        time.sleep(0.1)


def submission(workspace: Workspace) -> tuple[Path, dict[str, object]]:
    path = next(workspace.path.glob("runs/jobs/train-*/submission.json"))
    return path, json.loads(path.read_text())


def job_of(workspace: Workspace) -> int:
    return int(str(submission(workspace)[1]["job"]))


def state_of(job: int) -> str:
    return output("sacct", "-n", "-P", "-X", "-j", str(job), "--format=State").split()[0]


def test_a_training_through_slurm_and_apptainer(
    images: Images, smoke: Workspace, tmp_path: Path
) -> None:
    need("slurm")
    """Told of its limit in between: the signal has to get through srun and the container."""
    workspace = images.workspace.copy(tmp_path / "a checkout")
    place = {**CLUSTER, "MINILINGUA_CONTAINER": "apptainer", "MINILINGUA_IMAGE": str(images.sif)}
    client = Client(workspace, "dvc", "repro", "-s", "train", place=place)
    client.await_step(6)  # one state has been saved
    worker = client.worker()
    os.kill(worker.pid, signal.SIGSTOP)
    output("scancel", "--batch", "--signal=USR1", str(job_of(workspace)))  # what --signal sends
    await_true(lambda: _is_pending(worker.pid, signal.SIGUSR1), client.said)
    os.kill(worker.pid, signal.SIGCONT)
    assert client.end() == 0, client.said()
    assert "saved before the time limit; going on in another attempt" in client.said()
    assert "ended well (2 attempt(s)" in client.said()
    assert workspace.outputs("train") == smoke.outputs("train")
    lines = telemetry(workspace)
    preflight = next(line for line in lines if line["kind"] == "preflight")
    assert images.lock.sif is not None
    assert preflight["image_digest"] == f"sha256:{images.lock.sif.sha256}"
    assert "megatron-core" in str(preflight["packages"])
    # What ran where is no part of what DVC remembers.
    lock = (workspace.path / "dvc.lock").read_text()
    assert not any(word in lock for word in ("local-test", "apptainer", str(images.sif)))


def test_a_killed_client_is_followed_by_the_next(workspace: Workspace, smoke: Workspace) -> None:
    client = Client(workspace)
    client.await_step(1)
    os.kill(client.worker().pid, signal.SIGSTOP)  # the job is still there when we come back
    second = run_at(CLUSTER, workspace, "minilingua", "train", check=False)
    assert second.returncode == 2
    assert f"is held by process {client.process.pid} on" in second.stderr
    client.process.kill()
    client.process.wait()
    # As if it had died before it could note the id of its job: the job is found by its name.
    path, record = submission(workspace)
    job = record["job"]
    told = workspace.run("minilingua", "status").stdout
    assert f"Slurm jobs of this checkout\n  {job}  train, running on " in told
    path.write_text(json.dumps({**record, "job": None}))
    again = Client(workspace)
    again.await_text(f"following job {job} again (running")
    os.kill(again.worker().pid, signal.SIGCONT)
    assert again.end() == 0, again.said()
    assert submission(workspace)[1] == record
    assert [r["attempt"] for r in telemetry(workspace) if r["kind"] == "start"] == [1]

    # DVC has deleted the outputs; the job of before is found and its result is published again.
    done = run_at(CLUSTER, workspace, "dvc", "repro", "-s", "train")
    assert f"job {job} has ended well" in done.stderr
    assert workspace.outputs("train") == smoke.outputs("train")


def test_a_time_limit_saves_requeues_and_changes_nothing(
    workspace: Workspace, smoke: Workspace
) -> None:
    workspace.edit(
        CLUSTER_FILE,
        'train: {partition: cpu, time: "00:05:00"',
        'train: {partition: cpu, time: "00:01:00"',
    )
    client = Client(workspace)
    client.await_step(2)
    worker = client.worker()
    # Frozen until Slurm has told it of the limit: Slurm looks at limits twice a minute.
    os.kill(worker.pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while not _is_pending(worker.pid, signal.SIGUSR1):
        assert time.monotonic() < deadline, client.said()
        time.sleep(0.1)
    os.kill(worker.pid, signal.SIGCONT)
    client.await_text("saved before the time limit; going on in another attempt")
    # On a busy machine another minute may pass before the first step: the next attempt has more.
    output("scontrol", "update", f"JobId={job_of(workspace)}", "TimeLimit=00:05:00")
    assert client.end() == 0, client.said()
    attempts = [r["attempt"] for r in telemetry(workspace) if r["kind"] == "start"]
    assert len(attempts) >= 2  # more where a busy machine reaches the limit again
    assert attempts == list(range(1, len(attempts) + 1))
    used = re.search(r"ended well \((\d+) attempt\(s\), ([\d.]+) GPU-hours\)", client.said())
    assert used is not None
    assert int(used[1]) == len(attempts)
    assert float(used[2]) > 0
    run_at(CLUSTER, workspace, "dvc", "repro", "-s", "train")
    assert workspace.outputs("train") == smoke.outputs("train")


def _is_pending(pid: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    masks = [
        line.split()[1] for line in status.splitlines() if line.startswith(("SigPnd", "ShdPnd"))
    ]
    return any(int(mask, 16) >> (number - 1) & 1 for mask in masks)


def test_a_job_whose_processes_die_has_failed_and_can_go_on(
    workspace: Workspace, smoke: Workspace
) -> None:
    client = Client(workspace)
    client.await_step(6)  # one state has been saved
    job = job_of(workspace)
    for process in _processes_of(job):
        process.kill()
    assert client.end() == 2
    last = client.said().splitlines()[-1]
    assert f"job {job} died on" in last
    assert "before it could say why (FAILED, exit code" in last
    assert "Traceback" not in client.said()
    run_at(CLUSTER, workspace, "dvc", "repro", "-s", "train")
    assert job_of(workspace) > job
    assert workspace.outputs("train") == smoke.outputs("train")


def _processes_of(job: int) -> list[psutil.Process]:
    """The job's own processes: its script, and what that has started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("SLURM_JOB_ID") == str(job):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    assert found
    return found


def test_an_error_of_the_worker_is_told_with_its_cause(workspace: Workspace) -> None:
    (workspace.path / "models/base/config.json").write_text("{}")
    done = run_at(CLUSTER, workspace, "minilingua", "train", check=False)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert "ended with exit code 2" in last
    assert "models/base/config.json: is no Llama configuration" in last


def test_a_cancelled_job_is_a_failure_that_says_so(workspace: Workspace) -> None:
    client = Client(workspace)
    client.await_step(1)
    job = job_of(workspace)
    assert workspace.run("minilingua", "cancel").stdout == f"cancelled job {job} (train)\n"
    assert client.end() == 2
    assert f"job {job} was cancelled by" in client.said().splitlines()[-1]
    assert state_of(job) == "CANCELLED"
    assert "no job of this checkout" in workspace.run("minilingua", "cancel").stderr


def test_a_full_queue_is_waited_in_and_ctrl_c_loses_nothing(workspace: Workspace) -> None:
    blocker = output(
        "sbatch", "--parsable", "--exclusive", "--output=/dev/null", "--wrap", "sleep 120"
    )
    try:
        client = Client(workspace)
        client.await_text(": waiting (")
        job = job_of(workspace)
        client.process.send_signal(signal.SIGINT)
        assert client.end() == 130
        assert f"job {job} goes on; `dvc repro` follows it again" in client.said()
        assert output("squeue", "--noheader", f"--jobs={job}", "--format=%T") in LIVE
        again = Client(workspace)
        again.await_text(f"following job {job} again (waiting (")
        again.process.send_signal(signal.SIGINT)
        assert again.end() == 130
    finally:
        output("scancel", blocker)


def test_a_job_of_the_same_name_of_another_checkout_is_not_taken(tmp_path: Path) -> None:
    need("slurm")
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    name = f"minilingua-test-{time.monotonic_ns()}"
    options = (f"--job-name={name}", f"--chdir={here}", "--output=/dev/null")
    job = int(output("sbatch", "--parsable", *options, "--wrap", "sleep 60"))
    try:
        assert find_by_name(name, here) == job
        assert find_by_name(name, there) is None
    finally:
        output("scancel", str(job))
    deadline = time.monotonic() + PATIENCE
    while find_by_name(name, here) is None:  # accounting learns of an end a little later
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert find_by_name(name, here) == job
    assert find_by_name(name, there) is None


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("partition: cpu", "partition: gpu-x", "nvalid partition name"),
        ('time: "00:05:00"', 'time: "3-00:00:00"', "Requested time limit is invalid"),
        ("memory: 3G", "memory: 9T", "Requested node configuration is not available"),
        ("gpu_type: h200", "gpu_type: v100", "Requested node configuration is not available"),
        ('time: "00:05:00"', 'time: "00:00:10"', "too short to save anything"),
    ],
)
def test_what_slurm_refuses_is_one_line(
    workspace: Workspace, old: str, new: str, expected: str
) -> None:
    file = workspace.path / CLUSTER_FILE
    text = file.read_text()
    train = next(line for line in text.splitlines() if line.startswith("    train:"))
    file.write_text(text.replace(train, train.replace(old, new)))
    done = run_at(CLUSTER, workspace, "minilingua", "train", check=False)
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_slurm_is_one_line(prepared: Workspace, tmp_path: Path) -> None:
    workspace = prepared.copy(tmp_path / "checkout")
    path = os.pathsep.join(
        part
        for part in workspace.environment()["PATH"].split(os.pathsep)
        if not (Path(part) / "sbatch").exists() or (Path(part) / "minilingua").exists()
    )
    done = run_at({**CLUSTER, "PATH": path}, workspace, "minilingua", "train", check=False)
    assert done.returncode == 2
    assert "sbatch is not on PATH" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("stage", ["train", "convert", "evaluate", "pipeline", "data", "tokenize"])
def test_slurm_reads_what_is_generated_for_triton(stage: str) -> None:
    need("slurm")
    # Everything but the sizes, which one small node does not have.
    small = ["--nodes=1", "--ntasks-per-node=1", "--cpus-per-task=1", "--mem=1G"]
    if stage in {"pipeline", "data", "tokenize"}:
        small += ["--partition=cpu", "--time=00:30:00"]
    else:
        small.append("--gres=gpu:h200:1")
    done = subprocess.run(
        ["sbatch", "--test-only", *small, f"slurm/{stage}.sbatch"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_ranks_of_one_training_meet_under_srun(workspace: Workspace, smoke: Workspace) -> None:
    workspace.edit(
        CLUSTER_FILE,
        'train: {partition: cpu, time: "00:05:00", gpus: 1,',
        'train: {partition: cpu, time: "00:05:00", gpus: 1, tasks: 2,',
    )
    run_at(CLUSTER, workspace, "dvc", "repro", "-s", "train")
    starts = [r for r in telemetry(workspace) if r["kind"] == "start"]
    assert [r["world_size"] for r in starts] == [2]
    for name in ("metrics.json",):
        ours = json.loads((workspace.path / "reports/train" / name).read_text())
        alone = json.loads((smoke.path / "reports/train" / name).read_text())
        assert ours["tokens"] == alone["tokens"]
        assert ours["validation_loss"] == pytest.approx(alone["validation_loss"], abs=1e-4)


def test_ranks_on_two_nodes_meet_at_the_first(workspace: Workspace, smoke: Workspace) -> None:
    workspace.edit(
        CLUSTER_FILE,
        'train: {partition: cpu, time: "00:05:00", gpus: 1, gpu_type: h200, cpus: 1, memory: 3G}',
        'train: {partition: pair, time: "00:05:00", nodes: 2, gpus: 1, cpus: 1, memory: 1500M}',
    )
    done = run_at(CLUSTER, workspace, "dvc", "repro", "-s", "train")
    lines = telemetry(workspace)
    assert [r["world_size"] for r in lines if r["kind"] == "start"] == [2]
    assert sum(r["kind"] == "preflight" for r in lines) == 2  # each node was looked at
    usage = next(r for r in lines if r["kind"] == "job")
    sacct = ("sacct", "-n", "-P", "-X", "-D", "-j", str(job_of(workspace)))
    seconds = [int(line) for line in output(*sacct, "--format=ElapsedRaw").splitlines()]
    assert usage["gpu_hours"] == pytest.approx(2 * sum(seconds) / 3600)
    assert f"{usage['gpu_hours']:.2f} GPU-hours" in done.stderr
    ours = json.loads((workspace.path / "reports/train/metrics.json").read_text())
    alone = json.loads((smoke.path / "reports/train/metrics.json").read_text())
    assert ours["tokens"] == alone["tokens"]
    assert ours["validation_loss"] == pytest.approx(alone["validation_loss"], abs=1e-4)


def test_the_pipeline_submits_its_stages_and_finds_them_again_after_its_limit(
    workspace: Workspace, smoke: Workspace
) -> None:
    pipeline = in_background(workspace, "slurm/pipeline.sbatch")
    log = workspace.path / f"runs/jobs/pipeline-{pipeline}.log"

    def said() -> str:
        return log.read_text() if log.exists() else ""

    await_true(lambda: any(r["kind"] == "start" for r in telemetry(workspace)), said)
    worker, training = worker_of(workspace), job_of(workspace)
    os.kill(worker.pid, signal.SIGSTOP)  # the job is still there when the pipeline comes back
    output("scancel", "--batch", "--signal=USR1", str(pipeline))  # what --signal sends
    await_true(lambda: f"following job {training} again" in said(), said)
    os.kill(worker.pid, signal.SIGCONT)
    assert f"job {training} goes on" in said()
    assert f"job {pipeline}, attempt 2" in said()
    await_true(lambda: state_of(pipeline) not in LIVE, said)
    assert state_of(pipeline) == "COMPLETED", said()
    assert [r["attempt"] for r in telemetry(workspace) if r["kind"] == "start"] == [1]
    for stage in ("train", "convert", "evaluate"):
        assert workspace.outputs(stage) == smoke.outputs(stage)


def test_an_array_tokenizes_and_the_stage_collects(workspace: Workspace, smoke: Workspace) -> None:
    shutil.rmtree(workspace.path / "data/tokens")
    languages = ("0", "13")  # the first and the last task of the array
    job = in_background(workspace, f"--array={','.join(languages)}", "slurm/tokenize.sbatch")
    states = ("sacct", "-n", "-P", "-X", "-j", str(job), "--format=State")
    await_true(lambda: output(*states).split() == ["COMPLETED"] * len(languages))
    done = sorted(path.name for path in workspace.path.glob("runs/parts/tokenize/*/*"))
    assert done == ["code", "en"]
    assert all(
        (workspace.path / f"runs/jobs/tokenize-{job}-{task}.log").exists() for task in languages
    )
    workspace.run("dvc", "repro", "-s", "-f", "tokenize")
    assert workspace.outputs("tokenize") == smoke.outputs("tokenize")


def test_a_slow_slurm_is_waited_for(workspace: Workspace, tmp_path: Path) -> None:
    """On a large cluster every question takes longer than the launcher's glances."""
    for name in ("squeue", "sacct", "scontrol"):
        program = tmp_path / "slow" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nsleep 0.7\nexec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)
    (workspace.path / "models/base/config.json").write_text("{}")  # its end comes at once
    path = f"{tmp_path / 'slow'}{os.pathsep}{workspace.environment()['PATH']}"
    done = run_at({**CLUSTER, "PATH": path}, workspace, "minilingua", "train", check=False)
    assert done.returncode == 2
    assert "is no Llama configuration" in done.stderr.splitlines()[-1]


def test_a_partition_that_is_down_is_told_while_the_job_waits(workspace: Workspace) -> None:
    workspace.edit(CLUSTER_FILE, "train: {partition: cpu", "train: {partition: closed")
    client = Client(workspace)
    client.await_text("waiting (PartitionDown); this may never change: see slurm.stages")
    assert workspace.run("minilingua", "cancel", "train").returncode == 0
    assert client.end() == 2
    done = workspace.run("minilingua", "cancel", "trian", check=False)
    assert done.returncode == 2
    assert "there are no jobs of 'trian'" in done.stderr
    assert "did you mean 'train'" in done.stderr


def test_conversion_in_the_image_through_slurm(
    images: Images, smoke: Workspace, tmp_path: Path
) -> None:
    need("slurm")
    workspace = smoke.copy(tmp_path / "checkout")
    lock = images.workspace.path / "containers/image.lock"
    (workspace.path / "containers/image.lock").write_bytes(lock.read_bytes())
    place = {**CLUSTER, "MINILINGUA_CONTAINER": "apptainer", "MINILINGUA_IMAGE": str(images.sif)}
    run_at(place, workspace, "dvc", "repro", "-s", "-f", "convert")
    assert workspace.outputs("convert") == smoke.outputs("convert")
