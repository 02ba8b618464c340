import os
import shutil
from pathlib import Path

import pytest

from minilingua.core.files import write_json
from minilingua.launch.doctor import diagnose, main
from minilingua.params_file import load_params
from minilingua.sources.sample.generate import generate
from minilingua.sources.selection import select_sources
from minilingua.sources.spec import load_spec

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
    assert " on 4 GPUs" in findings["cost"].text


def test_a_model_that_is_to_be_read_from_a_path_has_to_be_there(checkout: Path) -> None:
    params = (checkout / "params.yaml").read_text()
    head, _, base = params.partition("\nbase:\n")
    base = base.replace("origin: random", "origin: local", 1)
    base = base.replace("path: null", "path: pretrained/a", 1)
    (checkout / "params.yaml").write_text(f"{head}\nbase:\n{base}")
    assert ("wrong", "base.path: pretrained/a is missing; put it there") in {
        (finding.level, finding.text.partition(",")[0]) for finding in diagnose("local")
    }
    (checkout / "pretrained/a").mkdir(parents=True)
    assert _levels("local")["models"] == "good"


def test_a_mirror_is_looked_at_file_by_file(checkout: Path) -> None:
    mirror = checkout / "mirror"
    params = (checkout / "params.yaml").read_text()
    for old, new in (
        ("origin: sample", "origin: mirror"),
        ("mirror: null", f"mirror: {mirror}"),
        ("licence: permissive", "licence: any"),
    ):
        assert params.count(old) <= 1
        params = params.replace(old, new)
    (checkout / "params.yaml").write_text(params)
    changed = load_params()
    used = sorted(select_sources(changed.sources).used)
    sample = changed.sources.sample.model_copy(update={"facts": 60, "instruction_rows": 24})
    made = [name for name in used if load_spec(name).in_sample]
    generate(mirror, made, changed.languages, sample, seed=1)
    texts = [finding.text for finding in diagnose("local") if finding.check == "data"]
    absent = sorted(set(used) - set(made))
    assert not absent or any(f"has nothing of {', '.join(absent)}" in text for text in texts)
    (file,) = list(mirror.rglob("*.jsonl"))[:1]
    name, _, local = file.relative_to(mirror).as_posix().partition("/")
    pinned = {"path": local, "bytes": file.stat().st_size, "digest": "sha256:" + "0" * 64}
    entry = {"id": "a/b", "ref": "main", "revision": "0" * 40, "into": "", "files": [pinned]}
    write_json(checkout / "sources.lock", {"version": 1, "sources": {name: [entry]}})
    assert not any("bytes of" in finding.text for finding in diagnose("local"))
    with file.open("ab") as stream:
        stream.truncate(1)
    findings = [finding for finding in diagnose("local") if "1 bytes of" in finding.text]
    assert [finding.level for finding in findings] == ["wrong"]
    assert "`minilingua fetch --mirror` repairs it" in findings[0].text


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


@pytest.mark.usefixtures("checkout")
def test_the_quota_is_told_where_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "quota").write_text("#!/bin/sh\necho '/scratch  190G   200G'\n")
    (programs / "quota").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    texts = [finding.text for finding in diagnose("local") if finding.check == "disk"]
    assert "quota: /scratch 190G 200G" in texts
