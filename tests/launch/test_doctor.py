import shutil
from pathlib import Path

import pytest

from minilingua.launch.doctor import diagnose, main

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "containers/image.lock", "slurm/clusters/triton.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("USER", "me")
    monkeypatch.delenv("MINILINGUA_CLUSTER", raising=False)
    return tmp_path


def _levels(cluster: str) -> dict[str, str]:
    return {finding.check: finding.level for finding in diagnose(cluster)}


@pytest.mark.usefixtures("checkout")
def test_this_machine_is_good_for_the_sample(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "warning  data     generated sample" in capsys.readouterr().out


@pytest.mark.usefixtures("checkout")
def test_every_check_is_made_whatever_the_others_find(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cluster", "triton"]) == 2
    said = capsys.readouterr().out
    for check in ("image", "binds", "slurm", "disk", "data", "cost", "team"):
        assert f"  {check}" in said
    assert "wrong" in said


def test_an_unknown_cluster_is_one_finding(checkout: Path) -> None:
    assert checkout.exists()
    (finding,) = diagnose("trtion")
    assert finding.level == "wrong"
    assert "did you mean 'triton'" in finding.text


def test_what_an_empty_mirror_and_the_cost_are(checkout: Path) -> None:
    params = (checkout / "params.yaml").read_text()
    mirror = checkout / "mirror"
    mirror.mkdir()
    changed = params.replace("origin: sample", "origin: mirror").replace(
        "mirror: null", f"mirror: {mirror}"
    )
    (checkout / "params.yaml").write_text(changed)
    findings = {finding.check: finding for finding in diagnose("triton")}
    assert findings["data"].level == "wrong"
    assert "`minilingua fetch --mirror` fills it" in findings["data"].text
    assert "GPU-hours" in findings["cost"].text
    assert " on 8 GPUs" in findings["cost"].text


def test_a_shared_cache_has_to_be_the_groups(checkout: Path) -> None:
    cache = checkout / "cache"
    cache.mkdir(mode=0o755)
    (checkout / ".dvc").mkdir()
    (checkout / ".dvc/config.local").write_text(f"[cache]\ndir = {cache}\nshared = group\n")
    assert _levels("local")["team"] == "warning"
    cache.chmod(0o2775)
    assert _levels("local")["team"] == "good"
    cache.rmdir()
    assert _levels("local")["team"] == "wrong"
