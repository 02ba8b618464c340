"""A tokenizer of the hub: pinned, and the checks of a local one."""

import json
from pathlib import Path

import pytest

from minilingua.chat import tokenizer_stage
from minilingua.core.errors import DataError, ParamsError
from minilingua.core.files import tree_digest, tree_files
from minilingua.params import Params, TokenizerParams
from tests.chat.chatml import write_chatml
from tests.hub_server import COMMIT, Hub, Repository

OUTPUT = Path("models/tokenizer")


@pytest.fixture
def given(tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.chdir(tmp_path)
    write_chatml(tmp_path / "given")
    files = {file.name: file.read_bytes() for file in tree_files(tmp_path / "given")}
    others = {"tokenization_own.py": b"raise SystemExit", "model.safetensors": b"x" * 9999}
    hub.repositories["models/owner/name"] = Repository(files=files | others)
    return hub.repositories["models/owner/name"]


def with_origin(params: Params, **changes: str | None) -> Params:
    values = {"path": None, "hub": None, "revision": None, **changes}
    tokenizer = TokenizerParams(vocab_size=600, **values)  # type: ignore[arg-type] # of many types
    return params.model_copy(update={"tokenizer": tokenizer})


def test_a_pinned_tokenizer_is_what_the_same_directory_would_be(
    params: Params, hub: Hub, given: Repository
) -> None:
    tokenizer_stage.run(with_origin(params, origin="local", path="given"))
    expected = tree_digest(OUTPUT)
    tokenizer_stage.run(with_origin(params, origin="hub", hub="owner/name", revision=COMMIT))
    assert tree_digest(OUTPUT) == expected
    asked = {path.rpartition("/")[2] for path in hub.paths() if "/resolve/" in path}
    assert asked == set(given.files) - {"tokenization_own.py", "model.safetensors"}


@pytest.mark.usefixtures("given")
def test_a_tokenizer_that_is_not_pinned_is_refused_with_the_current_commit(params: Params) -> None:
    with pytest.raises(ParamsError, match=rf"tokenizer\.revision is null: .* is now {COMMIT}; put"):
        tokenizer_stage.run(with_origin(params, origin="hub", hub="owner/name"))
    assert not OUTPUT.exists()


def test_a_tokenizer_that_brings_code_is_refused(params: Params, given: Repository) -> None:
    config = json.loads(given.files["tokenizer_config.json"])
    config["auto_map"] = {"AutoTokenizer": ["tokenization_own.Own", None]}
    given.files["tokenizer_config.json"] = json.dumps(config).encode()
    with pytest.raises(DataError, match=r"tokenizer_config\.json: names code of its own"):
        tokenizer_stage.run(with_origin(params, origin="hub", hub="owner/name", revision=COMMIT))
    assert not OUTPUT.exists()
