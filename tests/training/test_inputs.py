import json
from typing import Any

import pytest

from minilingua.core.errors import CheckpointError, DataError, MissingInputError
from minilingua.training.inputs import planned_languages, read_inputs
from tests.training.workspace import LANGUAGES, VOCABULARY, Workspace, write_plan_meta


def change_json(workspace: Workspace, name: str, **values: Any) -> None:
    file = workspace.root / name
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}), encoding="utf-8")


def test_what_the_files_say(workspace: Workspace) -> None:
    inputs = read_inputs(workspace.params.model)
    assert inputs.vocab_size == VOCABULARY
    assert inputs.tokenizer_digest == "t" * 64
    assert planned_languages(inputs.plan, "train") == ["en", "bg", "fi"]
    assert set(planned_languages(inputs.plan, "validation")) == set(LANGUAGES)


def test_a_plan_of_other_tokens_is_refused(workspace: Workspace) -> None:
    write_plan_meta(workspace.root, token_digests={"train/fi": "0" * 64})
    with pytest.raises(DataError, match="data/tokens/train/fi holds other tokens"):
        read_inputs(workspace.params.model)


def test_a_plan_without_digests_is_accepted(workspace: Workspace) -> None:
    write_plan_meta(workspace.root, token_digests={})
    assert read_inputs(workspace.params.model).vocab_size == VOCABULARY


def test_packs_longer_than_the_model_are_refused(workspace: Workspace) -> None:
    model = workspace.params.model.model_copy(update={"max_positions": 63})
    with pytest.raises(DataError, match=r"up to 64 tokens, model\.max_positions is 63"):
        read_inputs(model)


def test_tokens_of_two_tokenizers_are_refused(workspace: Workspace) -> None:
    write_plan_meta(workspace.root, token_digests={})
    change_json(workspace, "data/tokens/validation/bg/meta.json", tokenizer_digest="u" * 64)
    with pytest.raises(DataError, match=r"validation/bg and .* by different tokenizers"):
        read_inputs(workspace.params.model)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_attention_heads": 2}, "num_attention_heads is 2, but model.attention_heads .* is 4"),
        ({"rope_theta": 5.0}, "rope_theta is 5.0, but model.rope_base"),
        ({"rope_parameters": {"rope_theta": 5.0}}, "rope_theta is 5.0, but model.rope_base"),
        ({"rms_norm_eps": 0.1}, "rms_norm_eps is 0.1"),
        ({"vocab_size": "many"}, "vocab_size is 'many'"),
    ],
)
def test_a_base_of_another_model_is_refused(
    workspace: Workspace, values: dict[str, Any], message: str
) -> None:
    change_json(workspace, "models/base/config.json", **values)
    with pytest.raises(CheckpointError, match=message):
        read_inputs(workspace.params.model)


def test_missing_files_are_named(workspace: Workspace) -> None:
    (workspace.root / "models/base/config.json").write_text("{", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"config\.json: is no Llama configuration"):
        read_inputs(workspace.params.model)
    (workspace.root / "models/base/config.json").unlink()
    with pytest.raises(MissingInputError, match="`minilingua base` makes it"):
        read_inputs(workspace.params.model)
    (workspace.root / "data/tokens/train/en/ids.bin").unlink()
    with pytest.raises(MissingInputError, match=r"train/en/ids\.bin is missing"):
        read_inputs(workspace.params.model)
