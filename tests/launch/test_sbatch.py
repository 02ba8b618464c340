import re
import shutil
import subprocess
from pathlib import Path

import pytest

from minilingua.launch.cluster import Cluster, StageName, read_cluster
from minilingua.launch.commands import scripts
from minilingua.launch.sbatch import Place, render

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
        if shutil.which("shellcheck"):
            subprocess.run(["shellcheck", str(path)], check=True)


@pytest.mark.parametrize("stage", STAGES)
def test_gpus_are_asked_for_where_they_are_used(stage: StageName) -> None:
    text = _render(stage, read_cluster("triton", {}))
    assert re.search(r"^#SBATCH --gres=gpu:h200:\d$", text, re.MULTILINE)
    assert "#SBATCH --open-mode=append" in text
    assert "x-%j.log" in text


def test_data_stages_keep_away_from_gpu_partitions() -> None:
    text = scripts("triton", read_cluster("triton", {}))["data.sbatch"]
    assert "gres" not in text
    assert "--partition=batch-milan" in text
    assert re.search(r"^#SBATCH --array=0-\d+$", text, re.MULTILINE)
    sources = re.search(r"^sources=\((.*)\)$", text, re.MULTILINE)
    assert sources is not None
    last = re.search(r"--array=0-(\d+)", text)
    assert last is not None
    assert len(sources[1].split()) == int(last[1]) + 1


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


def test_paths_are_quoted_and_variables_left_to_the_shell() -> None:
    text = _render("train", read_cluster("triton", {}))
    assert "cd '/a checkout' || exit 2" in text
    assert '"/scratch/work/${USER}/minilingua/minilingua.sif"' in text


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
    place = Place(repository=tmp_path, directory="job", log="x", name="x")
    script = tmp_path / "train.sbatch"
    script.write_text(render("train", cluster, place, "x.yaml").replace("MASTER_ADDR=", "unused="))
    done = subprocess.run(
        ["bash", str(script)],
        env={
            "HOME": str(tmp_path),
            "PATH": f"{programs}:/usr/bin:/bin",
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "n",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    record = tmp_path / "job/complete.json"
    if expected == "requeued":
        assert "requeued" in done.stdout
        assert not record.exists()
    else:
        assert done.returncode == code
        assert record.read_text() == f'{{"attempt":1,"exit_code":{code},"job":7}}\n'
        assert ("the time limit is too short" in done.stderr) == (limit and not progress)
