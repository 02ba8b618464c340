import shutil
from pathlib import Path

import pytest

from minilingua.chat import tokenize_parts, tokenize_stage
from minilingua.cli import main
from minilingua.core.files import tree_digest
from minilingua.params import Params

TOKENS = Path("data/tokens")


@pytest.fixture
def here(workspace: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("data", "models"):
        shutil.copytree(workspace / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    monkeypatch.setattr(tokenize_parts, "load_params", lambda: params)
    return tmp_path


def test_collected_parts_are_the_bytes_of_the_stage(
    here: Path, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenize_stage.run(params)
    expected = tree_digest(TOKENS)
    assert main(["tokenize", "--language", "fi"]) == 0
    assert main(["tokenize", "--language", "de", "--language", "code"]) == 0
    parts = {path.parent.name for path in here.glob("runs/parts/tokenize/*/*/manifest.json")}
    assert parts == {"fi", "de", "code"}
    capsys.readouterr()
    tokenize_stage.run(params)
    assert "done before by jobs: de, fi, code\n" in capsys.readouterr().out
    assert tree_digest(TOKENS) == expected


@pytest.mark.usefixtures("here")
def test_a_part_of_other_input_is_not_collected(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tokenize", "--language", "fi"]) == 0
    path = Path("data/conversations/test/fi.jsonl")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    capsys.readouterr()
    tokenize_stage.run(params)
    assert "done before" not in capsys.readouterr().out


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("changed", ["tokenizer", "truncate_to", "code"])
def test_a_part_of_another_tokenizer_limit_or_code_is_not_collected(
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changed: str,
) -> None:
    assert main(["tokenize", "--language", "fi"]) == 0
    if changed == "tokenizer":
        config = Path("models/tokenizer/tokenizer_config.json")
        config.write_text(config.read_text() + "\n")
    elif changed == "truncate_to":
        limit = params.tokenize.model_copy(update={"truncate_to": 40})
        params = params.model_copy(update={"tokenize": limit})
    else:
        monkeypatch.setattr(tokenize_parts, "_code_digest", lambda: "other")
    capsys.readouterr()
    tokenize_stage.run(params)
    assert "done before" not in capsys.readouterr().out


@pytest.mark.usefixtures("here")
def test_a_finished_part_is_not_made_again() -> None:
    main(["tokenize", "--language", "fi"])
    (manifest,) = Path().glob("runs/parts/tokenize/*/fi/manifest.json")
    before = manifest.stat().st_mtime_ns
    main(["tokenize", "--language", "fi"])
    assert manifest.stat().st_mtime_ns == before


@pytest.mark.usefixtures("here")
def test_an_unknown_language_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tokenize", "--language", "fii"]) == 2
    assert "--language fii: not in languages" in capsys.readouterr().err
    assert not Path("runs").exists()
