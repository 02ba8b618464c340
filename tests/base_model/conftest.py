"""A tokenizer directory and parameters of a tiny model."""

import json
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer, models

from minilingua.params import BaseParams, ModelParams, Params
from minilingua.params_file import load_params

VOCABULARY = 320
_UNKNOWN = "<unk>"
_REPOSITORY = Path(__file__).parents[2]


def write_tokenizer(path: Path, size: int = VOCABULARY, **names: object) -> None:
    vocabulary = {_UNKNOWN: 0, "<s>": 1, "</s>": 2, "<pad>": 3}
    vocabulary |= {f"token{index}": index for index in range(4, size - 1)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=_UNKNOWN))
    tokenizer.add_special_tokens([AddedToken(token) for token in ("<s>", "</s>", "<pad>", "<x>")])
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": "<pad>"} | names
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    (path / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Parameters whose seed, model and base do not depend on params.yaml; changes directory."""
    monkeypatch.chdir(tmp_path)
    write_tokenizer(Path("models/tokenizer"))
    model = ModelParams(
        name="tiny",
        hidden_size=64,
        ffn_hidden_size=96,
        layers=2,
        attention_heads=4,
        kv_groups=2,
        tied_embeddings=True,
        rope_base=12345.0,
        norm_epsilon=3e-5,
        max_positions=77,
    )
    base = BaseParams(origin="random", path=None, hub=None, revision=None, init_std=0.05)
    return load_params(_REPOSITORY / "params.yaml").model_copy(
        update={"seed": 7, "model": model, "base": base}
    )


def with_model(params: Params, **changes: object) -> Params:
    return params.model_copy(update={"model": params.model.model_copy(update=changes)})


def with_local(params: Params, path: Path) -> Params:
    base = BaseParams(origin="local", path=str(path), hub=None, revision=None, init_std=0.02)
    return params.model_copy(update={"base": base})
