"""A base model of the hub: pinned, safetensors only, the checks of a local one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from minilingua.base_model import stage
from minilingua.core.errors import CheckpointError, DownloadError, ParamsError
from minilingua.core.files import tree_digest, tree_files
from minilingua.params import BaseParams, Params
from tests.hub_server import COMMIT, Hub, Repository

BASE = Path("models/base")


@pytest.fixture
def model(params: Params, hub: Hub) -> Repository:
    """A model that fits ``params``, on the hub, among files that nobody needs."""
    stage.run(params)
    files = {file.name: file.read_bytes() for file in tree_files(BASE)}
    shutil.rmtree(BASE)
    others = {"README.md": b"# A card", "modeling_own.py": b"raise SystemExit",
              "pytorch_model.bin": b"a pickle" * 99, "onnx/model.onnx": b"x" * 99}  # fmt: skip
    repository = Repository(files=files | others)
    hub.repositories["models/owner/base"] = repository
    return repository


def from_hub(params: Params, revision: str | None = COMMIT) -> Params:
    base = BaseParams(origin="hub", path=None, hub="owner/base", revision=revision, init_std=0.02)
    return params.model_copy(update={"base": base})


def test_a_pinned_model_arrives_without_anything_else(
    params: Params, hub: Hub, model: Repository
) -> None:
    stage.run(params)
    expected = tree_digest(BASE)
    stage.run(from_hub(params))
    assert tree_digest(BASE) == expected
    asked = [path.rpartition("/")[2] for path in hub.paths() if "/resolve/" in path]
    assert sorted(asked) == ["config.json", "generation_config.json", "model.safetensors"]
    assert model.files["config.json"]


@pytest.mark.usefixtures("model")
def test_a_second_run_asks_the_hub_for_nothing(params: Params, hub: Hub) -> None:
    stage.run(from_hub(params))
    asked = len(hub.requests)
    shutil.rmtree(BASE)
    stage.run(from_hub(params))
    assert len(hub.requests) == asked
    assert (BASE / "model.safetensors").exists()


@pytest.mark.usefixtures("model")
def test_a_model_that_is_not_pinned_is_refused_with_the_current_commit(params: Params) -> None:
    with pytest.raises(ParamsError) as caught:
        stage.run(from_hub(params, revision=None))
    assert str(caught.value) == (
        "base.revision is null: owner/base is not pinned. Its main is now "
        f"{COMMIT}; put that into params.yaml, or another commit"
    )
    with pytest.raises(DownloadError, match="has no such revision of owner/base"):
        stage.run(from_hub(params, revision="f" * 40))


def test_pickled_weights_are_never_downloaded(params: Params, hub: Hub, model: Repository) -> None:
    del model.files["model.safetensors"]
    with pytest.raises(CheckpointError) as caught:
        stage.run(from_hub(params))
    assert str(caught.value) == (
        f"owner/base at {COMMIT}: there is no model.safetensors; pytorch_model.bin can run code "
        "when read, and never is"
    )
    assert not any("/resolve/" in path for path in hub.paths())


def test_shards_come_with_their_index(params: Params, hub: Hub, model: Repository) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    model.files |= dict.fromkeys(names, b"no tensors")
    model.files["model.safetensors.index.json"] = json.dumps(
        {"weight_map": {"a": names[0]}}
    ).encode()
    del model.files["model.safetensors"]
    with pytest.raises(CheckpointError, match=r"model-00001-of-00002\.safetensors: not a complete"):
        stage.run(from_hub(params))
    asked = [path.rpartition("/")[2] for path in hub.paths() if "/resolve/" in path]
    assert sorted(asked) == [
        "config.json", "generation_config.json", *names, "model.safetensors.index.json",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"auto_map": {"AutoModel": "modeling_own.Own"}},
            r"code of its own \(auto_map\), which",
        ),
        ({"hidden_size": 128}, "hidden_size is 128 where model.hidden_size is 64"),
    ],
)
def test_a_model_that_does_not_fit_or_brings_code_is_refused(
    params: Params, model: Repository, change: dict[str, Any], message: str
) -> None:
    config = json.loads(model.files["config.json"]) | change
    model.files["config.json"] = json.dumps(config).encode()
    with pytest.raises(CheckpointError, match=message):
        stage.run(from_hub(params))
    assert not BASE.exists()


def test_a_model_without_a_configuration_is_named(params: Params, model: Repository) -> None:
    del model.files["config.json"]
    with pytest.raises(DownloadError, match=rf"owner/base at {COMMIT}: there is no config\.json"):
        stage.run(from_hub(params))
