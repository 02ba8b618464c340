import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from minilingua.core.files import write_json
from minilingua.launch.cluster import Cluster, StageName, read_cluster
from minilingua.launch.commands import scripts
from minilingua.launch.sbatch import render
from minilingua.launch.script import Place, quote
from tests.infra.parts import REQUIRED_VARIABLE

REPOSITORY = Path(__file__).parents[2]
STAGES: list[StageName] = ["train", "convert", "evaluate", "pipeline"]


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)


def _render(stage: StageName, cluster: Cluster) -> str:
    place = Place(
        repository=Path("/a checkout"), directory="runs/jobs/x", log="x-%j.log", name="x", run="r"
    )
    return render(stage, cluster, place, "slurm/clusters/x.yaml")


def test_the_committed_scripts_are_those_of_triton() -> None:
    for name, text in scripts("triton", read_cluster("triton", {})).items():
        assert (REPOSITORY / "slurm" / name).read_text() == text, "run `minilingua slurm`"


@pytest.mark.parametrize("name", ["triton", "generic", "local-test"])
def test_bash_can_read_every_script(name: str, tmp_path: Path) -> None:
    for file, text in scripts(name, read_cluster(name, {})).items():
        path = tmp_path / file
        path.write_text(text)
        subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.parametrize("name", ["triton", "generic", "local-test"])
def test_shellcheck_finds_nothing_in_any_script(name: str, tmp_path: Path) -> None:
    for file, text in scripts(name, read_cluster(name, {})).items():
        path = tmp_path / file
        path.write_text(text)
        _shellcheck(path)


@pytest.mark.parametrize(
    "name",
    ["tests/infra/setup.sh", "containers/install.sh", "containers/run.sh", ".ci/run"],
)
def test_shellcheck_warns_of_nothing_in_our_own_scripts(name: str) -> None:
    _shellcheck(REPOSITORY / name, "--severity=warning")


def _shellcheck(path: Path, *options: str) -> None:
    if shutil.which("shellcheck") is None:
        if os.environ.get(REQUIRED_VARIABLE) == "required":
            pytest.fail("shellcheck is not on PATH")
        pytest.skip("shellcheck is not on PATH; tests/infra/setup.sh installs it")
    subprocess.run(["shellcheck", *options, str(path)], check=True)


@pytest.mark.parametrize("stage", ["train", "convert", "evaluate"])
def test_gpus_are_asked_for_where_they_are_used(stage: StageName) -> None:
    text = _render(stage, read_cluster("triton", {}))
    assert re.search(r"^#SBATCH --gres=gpu:h200:\d$", text, re.MULTILINE)
    assert "#SBATCH --open-mode=append" in text
    assert "x-%j.log" in text


@pytest.mark.parametrize(("name", "values"), [("data", "sources"), ("tokenize", "languages")])
def test_data_stages_keep_away_from_gpu_partitions(name: str, values: str) -> None:
    text = scripts("triton", read_cluster("triton", {}))[f"{name}.sbatch"]
    assert "gres" not in text
    assert "--partition=batch-milan" in text
    assert re.search(r"^#SBATCH --array=0-\d+$", text, re.MULTILINE)
    listed = re.search(rf"^{values}=\((.*)\)$", text, re.MULTILINE)
    assert listed is not None
    last = re.search(r"--array=0-(\d+)", text)
    assert last is not None
    assert len(listed[1].split()) == int(last[1]) + 1


@pytest.mark.parametrize("name", ["triton", "generic"])
def test_the_pipeline_runs_data_stages_so_it_keeps_away_from_gpus_too(name: str) -> None:
    cluster = read_cluster(name, {})
    assert cluster.slurm is not None
    text = _render("pipeline", cluster)
    assert "--gres" not in text
    partition = re.search(r"^#SBATCH --partition=(.*)$", text, re.MULTILINE)
    assert partition is not None
    assert partition[1] not in cluster.slurm.gpu_partitions
    assert "export MINILINGUA_CLUSTER=x\n" in text  # what needs GPUs is submitted from there


def test_only_what_can_go_on_is_requeued() -> None:
    cluster = read_cluster("triton", {})
    for stage in ("train", "pipeline"):
        text = _render(stage, cluster)
        assert "#SBATCH --requeue" in text
        assert "#SBATCH --signal=B:USR1@300" in text
    assert "#SBATCH --no-requeue" in _render("convert", cluster)


def test_one_rank_needs_no_rendezvous_and_many_meet_at_the_first_node() -> None:
    one = _render("convert", read_cluster("triton", {}))
    assert "MASTER_ADDR=" not in one
    many = _render("train", read_cluster("triton", {}))
    assert 'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)' in many
    for variable in ("RANK=$SLURM_PROCID", "LOCAL_RANK=$SLURM_LOCALID", "WORLD_SIZE=$SLURM_NTASKS"):
        assert f"export {variable}" in many
        assert f"export APPTAINERENV_{variable}" in many


def test_every_node_is_looked_at_before_several_train() -> None:
    triton = read_cluster("triton", {})
    assert triton.slurm is not None
    one = triton.slurm.stages["train"]
    stages = {**triton.slurm.stages, "train": one.model_copy(update={"nodes": 2})}
    slurm = triton.slurm.model_copy(update={"stages": stages})
    text = _render("train", triton.model_copy(update={"slurm": slurm}))
    assert "#SBATCH --nodes=2" in text
    assert "\nsrun --nodes=2 --ntasks=2 --ntasks-per-node=1 apptainer exec " in text
    assert "\nsrun" not in _render("convert", triton).partition("minilingua node")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/plain", "/plain"),
        ("/a b", "/a b"),
        ("/it's $HOME `id` $(id)", "/it's $HOME `id` $(id)"),
        ("${WHO}/a b", "me/a b"),
        (
            '${WHO}/$(id) `id` "x" \\ $HOME ${WHO:-$(id)}',
            'me/$(id) `id` "x" \\ $HOME ${WHO:-$(id)}',
        ),
    ],
)
def test_a_shell_reads_the_word_that_was_written_and_runs_nothing(text: str, expected: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"printf %s {quote(text)}"],
        env={"WHO": "me", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == expected


def test_modules_are_loaded_where_the_function_is_not_exported(tmp_path: Path) -> None:
    generic = read_cluster("generic", {})
    assert generic.slurm is not None
    slurm = generic.slurm.model_copy(update={"modules": ("apptainer", "cuda/12")})
    text = _render("train", generic.model_copy(update={"slurm": slurm}))
    head = text.partition("set -uo pipefail")[0].replace("/etc/profile", str(tmp_path / "profile"))
    (tmp_path / "profile").write_text('module() { echo "$UNSET$@"; [ "$2" = apptainer ]; }\n')
    done = subprocess.run(["bash", "-c", head], capture_output=True, text=True, check=False)
    assert done.stdout == "load apptainer\nload cuda/12\n"
    assert done.returncode == 2  # the second is not there, and nothing runs without it


def test_paths_are_quoted_and_variables_left_to_the_shell() -> None:
    text = _render("train", read_cluster("triton", {}))
    assert "cd '/a checkout' || exit 2" in text
    assert '"/scratch/work/${USER}/minilingua/minilingua.sif"' in text


def test_a_scratch_in_the_home_directory_is_not_looked_for_in_the_checkout() -> None:
    text = scripts("generic", read_cluster("generic", {}))["train.sbatch"]
    assert 'scratch="${HOME}/minilingua-scratch"' in text
    assert ' --bind "${HOME}/minilingua-scratch" ' in text
    default = read_cluster("generic", {}).model_copy(update={"scratch": None})
    text = scripts("generic", default)["train.sbatch"]
    assert 'scratch="${SLURM_SUBMIT_DIR}/runs/scratch"' in text


@pytest.mark.parametrize("is_here", [True, False])
def test_a_pipeline_waits_for_jobs_of_its_own_checkout_only(tmp_path: Path, is_here: bool) -> None:
    """It was told of its limit and has saved nothing: only a job that it follows goes on."""
    programs = tmp_path / "bin"
    programs.mkdir()
    place = tmp_path if is_here else tmp_path.with_name(f"{tmp_path.name}-b")
    for name, body in (
        ("dvc", "kill -USR1 $PPID; sleep 60"),
        ("squeue", f"case $* in *%Z*) z='|{place}';; esac; echo minilingua-train-0ab-1$z"),
        ("scontrol", "echo requeued; kill -9 $PPID"),
    ):
        (programs / name).write_text(f"#!/bin/bash\n{body}\n")
        (programs / name).chmod(0o755)
    cluster = read_cluster("generic", {})
    here = Place(repository=tmp_path, directory="job", log="x", name="x")
    done = _run(render("pipeline", cluster, here, "x.yaml"), tmp_path)
    assert ("requeued" in done.stdout) == is_here
    assert ("the time limit is too short" in done.stderr) != is_here


@pytest.mark.parametrize(
    ("code", "limit", "progress", "expected"),
    [
        (0, False, True, "exit 0, complete 0"),
        (2, False, True, "exit 2, complete 2"),
        (75, False, True, "exit 75, complete 75"),
        (75, True, True, "requeued"),
        (75, True, False, "exit 75, complete 75"),
        (138, True, False, "exit 138, complete 138"),
    ],
)
def test_what_the_script_makes_of_the_trainings_end(
    tmp_path: Path, code: int, limit: bool, progress: bool, expected: str
) -> None:
    """The script itself, with a training that does nothing but be told of its limit and end."""
    programs = tmp_path / "bin"
    programs.mkdir()
    save = "mkdir -p runs/k/checkpoints/s; touch runs/k/checkpoints/s/complete.json;"
    told = "trap 'told=1' USR1; kill -USR1 $PPID; until [ $told ]; do sleep 0.05; done;"
    srun = f"told=; {told if limit else ''} {save if progress else ''} exit {code}"
    for name, body in (
        ("srun", srun),
        ("scontrol", "echo requeued; kill -9 $PPID"),
        ("apptainer", "exit 0"),
    ):
        (programs / name).write_text(f"#!/bin/bash\n{body}\n")
        (programs / name).chmod(0o755)
    cluster = read_cluster("generic", {}).model_copy(update={"scratch": str(tmp_path / "scratch")})
    (tmp_path / "minilingua.sif").write_bytes(b"image")
    _record(tmp_path, hashlib.sha256(b"image").hexdigest())
    place = Place(repository=tmp_path, directory="job", log="x", name="x")
    done = _run(render("train", cluster, place, "x.yaml"), tmp_path)
    record = tmp_path / "job/complete.json"
    if expected == "requeued":
        assert "requeued" in done.stdout
        assert not record.exists()
    else:
        assert done.returncode == code
        assert record.read_text() == f'{{"attempt":1,"exit_code":{code},"job":7}}\n'
        assert ("the time limit is too short" in done.stderr) == (limit and not progress)


def _run(text: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Runs a script as Slurm would, with the programs of ``directory/bin``."""
    script = directory / "script.sbatch"
    script.write_text(text.replace("MASTER_ADDR=", "unused="))
    return subprocess.run(
        # A test run in the background has SIGINT ignored, which a shell hands on; Slurm's has not.
        ["env", "--default-signal=INT", "bash", str(script)],
        env={
            "APPTAINERENV_LD_PRELOAD": "/host.so",
            "SINGULARITY_BINDPATH": "/host",
            "HOME": str(directory),
            "PATH": f"{directory / 'bin'}:/usr/bin:/bin",
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "n",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _record(repository: Path, digest: str) -> None:
    (repository / "containers").mkdir(exist_ok=True)
    sif = {"sha256": digest, "bytes": 5, "rootfs": "sha256:0"}
    base = {"image": "x", "kind": None, "pin": None}
    write_json(repository / "containers/image.lock", {"base": base, "docker": None, "sif": sif})


@pytest.mark.parametrize("container", ["apptainer", "docker"])
@pytest.mark.parametrize("is_known", [True, False])
def test_a_job_refuses_an_image_that_is_not_the_recorded_one(
    tmp_path: Path, container: str, is_known: bool
) -> None:
    """Also one that a person submits, and one whose image was changed while it waited."""
    digest = hashlib.sha256(b"image").hexdigest()
    programs = tmp_path / "bin"
    programs.mkdir()
    inspect = f'case "$*" in "image inspect"*) echo sha256:{digest};; esac; env >>"$HOME/env"'
    for name in ("apptainer", "docker", "srun"):
        (programs / name).write_text(f"#!/bin/bash\n{inspect}\n")
        (programs / name).chmod(0o755)
    sif = tmp_path / "minilingua.sif"
    sif.write_bytes(b"image")
    _record(tmp_path, digest)
    if container == "docker":
        lock = tmp_path / "containers/image.lock"
        lock.write_text(
            lock.read_text().replace('"docker": null', f'"docker": {{"id": "sha256:{digest}"}}')
        )
    cluster = read_cluster("generic", {"MINILINGUA_CONTAINER": container}).model_copy(
        update={"scratch": str(tmp_path / "scratch")}
    )
    known = f"sha256:{digest}" if is_known else None
    place = Place(repository=tmp_path, directory="job", log="x", name="x", image_digest=known)
    text = render("convert", cluster, place, "x.yaml")
    assert _run(text, tmp_path).returncode == 0
    seen = (tmp_path / "env").read_text()
    assert f"MINILINGUA_IMAGE_DIGEST=sha256:{digest}" in seen
    if container == "apptainer":  # and nothing of the caller's reaches into it
        assert "/host" not in seen
    (tmp_path / "env").unlink()
    sif.write_bytes(b"another")
    (programs / "docker").write_text(f"#!/bin/bash\n{inspect.replace(digest, '1' * 64)}\n")
    done = _run(text, tmp_path)
    assert done.returncode == 2
    assert f"but containers/image.lock recorded sha256:{digest}" in done.stderr
    assert "job: error:" in done.stderr
    assert container == "docker" or not (tmp_path / "env").exists()


def test_a_limit_that_is_near_before_the_training_starts_is_too_short(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in (("apptainer", "kill -USR1 $PPID"), ("srun", 'touch "$HOME/started"')):
        (programs / name).write_text(f"#!/bin/bash\n{body}\n")
        (programs / name).chmod(0o755)
    (tmp_path / "minilingua.sif").write_bytes(b"image")
    _record(tmp_path, hashlib.sha256(b"image").hexdigest())
    cluster = read_cluster("generic", {}).model_copy(update={"scratch": str(tmp_path / "scratch")})
    place = Place(repository=tmp_path, directory="job", log="x", name="x")
    done = _run(render("train", cluster, place, "x.yaml"), tmp_path)
    assert done.returncode == 75
    assert "nothing was saved in this attempt: the time limit is too short" in done.stderr
    assert not (tmp_path / "started").exists()
