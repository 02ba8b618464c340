from pathlib import Path

import pytest

from minilingua.core.errors import LaunchError
from minilingua.launch.cluster import Cluster, Resources, chosen_cluster, read_cluster

REPOSITORY = Path(__file__).parents[2]
SLURM = """\
launcher: slurm
slurm:
  gpu_partitions: [gpu]
  stages:
    train: {partition: gpu, time: "1-02:00:00", gpus: 4, cpus: 8, memory: 100G}
"""


@pytest.fixture
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("CLUSTER", "LAUNCHER", "CONTAINER", "IMAGE"):
        monkeypatch.delenv(f"MINILINGUA_{name}", raising=False)
    folder = tmp_path / "slurm/clusters"
    folder.mkdir(parents=True)
    return folder


def test_the_environment_names_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MINILINGUA_CLUSTER", raising=False)
    assert chosen_cluster() == "local"
    monkeypatch.setenv("MINILINGUA_CLUSTER", "elsewhere")
    assert chosen_cluster() == "elsewhere"


@pytest.mark.usefixtures("clusters")
def test_the_default_needs_no_file() -> None:
    assert read_cluster("local") == Cluster(launcher="local")


def test_the_environment_overrides_the_file(clusters: Path) -> None:
    (clusters / "here.yaml").write_text(SLURM)
    changed = read_cluster(
        "here",
        {
            "MINILINGUA_LAUNCHER": "local",
            "MINILINGUA_CONTAINER": "apptainer",
            "MINILINGUA_IMAGE": "/images/${USER}.sif",
        },
    )
    assert (changed.launcher, changed.container) == ("local", "apptainer")
    assert changed.expanded({"USER": "me"}).image == "/images/me.sif"
    with pytest.raises(LaunchError, match="the environment has no variable USER"):
        changed.expanded({})


@pytest.mark.parametrize("path", sorted((REPOSITORY / "slurm/clusters").glob("*.yaml")))
def test_every_shipped_cluster_file_is_good(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    cluster = read_cluster(path.stem, {})
    if cluster.launcher == "slurm":
        assert cluster.resources("train").seconds > 0
        assert cluster.resources("data").gpus == 0


def test_resources_say_how_many_tasks_and_how_long() -> None:
    resources = Resources(partition="gpu", time="1-02:03:04", gpus=8, cpus=8, memory="500G")
    assert resources.tasks_per_node == 8
    assert resources.seconds == ((24 + 2) * 60 + 3) * 60 + 4


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("workstatoin", None, r"workstatoin.yaml is missing; .*did you mean 'workstation'"),
        ("workstation", "launcher: locla\n", r"unknown launcher 'locla'.*did you mean 'local'"),
        ("workstation", "launcher: local\nlauncer: x\n", r"unknown key 'launcer'.*'launcher'"),
        ("workstation", "partition: gpu\n", r"expected a key 'launcher', found"),
        ("workstation", "launcher: [\n", r"workstation.yaml: not YAML"),
        ("workstation", "launcher: slurm\n", r"launcher: slurm needs the section 'slurm'"),
        ("workstation", "launcher: local\ncontainer: doker\n", r"container 'doker'.*'docker'"),
        ("workstation", "launcher: local\ncontainer: docker\n", r"docker needs an 'image'"),
        ("workstation", SLURM.replace("train", "trian"), r"unknown stage 'trian'.*'train'"),
        ("workstation", SLURM.replace("memory: 100G", "memory: lots"), r"memory: .*'lots'"),
        ("workstation", SLURM.replace("1-02:00:00", "26h"), r"time: expected .*found '26h'"),
        ("workstation", SLURM.replace("1-02:00:00", "00:05:00"), r"too short to save"),
        ("workstation", SLURM.replace("gpus: 4, ", ""), r"asks for no GPU, but gpu is a GPU part"),
        (
            "workstation",
            SLURM.replace("gpus: 4, ", "").replace("partition: gpu", "partition: 'cpu,gpu'"),
            r"asks for no GPU, but gpu is a GPU part",
        ),
        (
            "workstation",
            "launcher: local\nimage: \udcff\n",
            r"workstation.yaml: not YAML: .*#x00ff",
        ),
        ("workstation", SLURM.replace("partition: gpu, ", ""), r"train.partition: Field required"),
        ("workstation", SLURM.replace("memory", "memori"), r"key 'slurm.*memori'.*'memory'"),
        ("workstation", SLURM.replace("partition: gpu", "partition: gpu x"), r"one word.*'gpu x'"),
        ("workstation", SLURM + "  account: 'a\\nb'\n", r"slurm.account: expected one word"),
        ("workstation", "launcher: local\nenvironment: [a=b]\n", r"environment.0: .*'a=b'"),
        ("workstation", SLURM.replace("train:", "pipeline:"), r"pipeline: runs data stages, which"),
    ],
)
def test_a_bad_choice_is_one_line(
    clusters: Path, name: str, text: str | None, expected: str
) -> None:
    text = text or "launcher: local\n"
    (clusters / "workstation.yaml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(LaunchError, match=expected) as caught:
        read_cluster(name)
    assert "\n" not in str(caught.value)
