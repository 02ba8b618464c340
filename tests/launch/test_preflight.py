import os
from pathlib import Path

import pytest

from minilingua.core.errors import LaunchError
from minilingua.core.events import read_telemetry
from minilingua.launch.preflight import (
    collect,
    main,
    quota,
    require_usable,
)


def test_facts_are_printed_and_on_record_for_the_next_attempt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINILINGUA_IMAGE_DIGEST", "sha256:1")
    telemetry = tmp_path / "telemetry.jsonl"
    telemetry.write_text('{"attempt":1,"kind":"start","time":1}\n')
    assert main(["--run", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "preflight: image_digest: sha256:1\n" in said
    record = list(read_telemetry(telemetry))[-1]
    assert (record["kind"], record["attempt"]) == ("preflight", 2)
    assert "megatron-core" in record["packages"]


def test_a_quota_is_told_also_when_it_is_exceeded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "quota").write_text("#!/bin/sh\necho '/home  11G*  10G'\nexit 1\n")
    (tmp_path / "quota").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert quota() == "/home 11G* 10G"


def test_a_node_that_cannot_train_is_refused() -> None:
    facts = {**collect(), "libcuda": None, "gpus": [], "disk_free_gb": 100.0}
    require_usable(facts, gpus=0)
    with pytest.raises(LaunchError, match=r"libcuda.so.1 cannot be loaded on .*gpus: true"):
        require_usable(facts, gpus=1)
    with pytest.raises(LaunchError, match=r"2 GPU\(s\) were asked for"):
        require_usable({**facts, "libcuda": "x", "gpus": ["H200"]}, gpus=2)
    with pytest.raises(LaunchError, match=r"only 0.1 GB are free"):
        require_usable({**facts, "disk_free_gb": 0.1}, gpus=0)
