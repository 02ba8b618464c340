from pathlib import Path

import pytest

from minilingua.core.errors import LaunchError
from minilingua.launch.launcher import Cluster, chosen_cluster, load_launcher, read_cluster
from minilingua.launch.local import LocalLauncher

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
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
    assert isinstance(load_launcher(read_cluster("local")), LocalLauncher)


def test_every_shipped_cluster_file_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    names = [file.stem for file in Path("slurm/clusters").glob("*.yaml")]
    assert "local" in names
    for name in names:
        assert callable(load_launcher(read_cluster(name)).run)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("workstatoin", None, r"workstatoin.yaml is missing; .*did you mean 'workstation'"),
        ("workstation", "launcher: locla\n", r"unknown launcher 'locla'.*did you mean 'local'"),
        ("workstation", "launcher: local\nlauncer: x\n", r"unknown key 'launcer'.*'launcher'"),
        ("workstation", "partition: gpu\n", r"expected a key 'launcher', found"),
        ("workstation", "launcher: [\n", r"workstation.yaml: not YAML"),
    ],
)
def test_a_bad_choice_is_one_line(
    clusters: Path, name: str, text: str | None, expected: str
) -> None:
    (clusters / "workstation.yaml").write_text(text or "launcher: local\n")
    with pytest.raises(LaunchError, match=expected) as caught:
        read_cluster(name)
    assert "\n" not in str(caught.value)
