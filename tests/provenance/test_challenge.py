import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minilingua.cli import main
from minilingua.core.files import write_text
from minilingua.provenance.challenge import arithmetic
from tests.tracking.workspace import Workspace

LOCK = {
    "schema": "2.0",
    "stages": {
        "fetch": {
            "cmd": "fetch",
            "deps": [{"path": "src/fetch.py", "md5": "c0de"}],
            "outs": [{"path": "data/raw", "md5": "1.dir"}],
        },
        "train": {
            "cmd": "train",
            "deps": [{"path": "data/raw", "md5": "1.dir"}],
            "outs": [{"path": "models/megatron", "md5": "2.dir"}],
        },
    },
}
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `--write` writes here, in the file one.json."""
    monkeypatch.chdir(tmp_path)
    Workspace(root=tmp_path).whole_line()
    write_text(tmp_path / "dvc.yaml", "stages: {}\n")
    write_text(tmp_path / "dvc.lock", json.dumps(LOCK))
    assert main(["challenge", "--write", "one.json"]) == 0
    made: dict[str, Any] = json.loads(Path("one.json").read_text())
    return made


def challenge(other: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    Path("two.json").write_text(json.dumps(other))
    capsys.readouterr()
    code = main(["challenge", "one.json", "two.json"])
    return code, capsys.readouterr().out.splitlines()


def test_a_machine_agrees_with_itself(
    manifest: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert manifest["stages"]["train"]["outs"] == {"models/megatron": "2.dir"}
    assert manifest["arithmetic"] == arithmetic()
    assert len(manifest["events"]) == 12 + 4 * 2 + 1
    first = Path("one.json").read_bytes()
    main(["challenge", "--write", "one.json"])
    assert Path("one.json").read_bytes() == first
    code, lines = challenge(manifest, capsys)
    assert code == 0
    assert lines == [
        "data: has to agree to the bit: yes, the outputs of 1 stages have the same hashes",
        "training: has to agree to the bit: yes, every loss is the same",
    ]


def other_data(made: dict[str, Any]) -> None:
    made["stages"]["fetch"]["outs"]["data/raw"] = "9.dir"


def other_loss(made: dict[str, Any], by: float = 1e-6) -> None:
    step = next(event for event in made["events"] if event["kind"] == "step")
    step["loss"] *= 1 + by
    made["stages"]["train"]["outs"]["models/megatron"] = "9.dir"


def other_processor(made: dict[str, Any]) -> None:
    made["arithmetic"]["exp"] = "0" * 64


def other_torch(made: dict[str, Any]) -> None:
    made["environment"]["packages"]["torch"] = "1.0"


def both(*changes: Change) -> Change:
    return lambda made: [change(made) for change in changes]


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (other_data, 1, "data: has to agree to the bit: NO, first difference: data/raw of fetch"),
        (other_loss, 1, "training: has to agree to the bit: NO, first diverging step 1, loss"),
        (
            both(other_loss, other_processor),
            0,
            "training: has to agree within 0.001 (the processors' arithmetic differs: exp): yes",
        ),
        (
            both(other_torch, lambda made: other_loss(made, 0.1)),
            1,
            "training: has to agree within 0.001 (packages.torch",
        ),
        (
            lambda made: made.update(devices=["NVIDIA H100"]),
            0,
            "training: has to agree within 0.001 (devices unknown and NVIDIA H100): yes, losses",
        ),
        (
            lambda made: made["params"]["train"].update(lr=0.5),
            1,
            "line: the same line: NO, other parameters: train.lr: 0.001 and 0.5",
        ),
        (
            lambda made: made["stages"]["fetch"]["deps"].update({"src/fetch.py": "other"}),
            1,
            "line: the same line: NO, other code: fetch: src/fetch.py",
        ),
    ],
)
def test_the_first_difference_and_what_was_to_be_expected(
    manifest: dict[str, Any],
    change: Change,
    code: int,
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(manifest)
    found, lines = challenge(manifest, capsys)
    assert found == code
    assert any(line.startswith(told) for line in lines), lines


def test_without_a_training_only_the_data_is_compared(
    manifest: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("reports/train")
    assert main(["challenge", "--write", "two.json"]) == 0
    capsys.readouterr()
    assert main(["challenge", "one.json", "two.json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert manifest["devices"] == ["unknown"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "no manifest of a machine (params: Field required)"),
        ("[", "bad.json"),
        (None, "bad.json is missing; `minilingua challenge --write` makes it"),
    ],
)
def test_what_is_no_manifest_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str | None,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("bad.json").write_text(text)
    assert main(["challenge", "bad.json", "bad.json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_one_file_is_not_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["challenge", "one.json"]) == 2
    assert "two manifests to compare" in capsys.readouterr().err
