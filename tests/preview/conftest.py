"""Tokens of a small corpus, made once by the real stages."""

import shutil
from pathlib import Path

import pytest

from minilingua.chat import tokenize_stage, tokenizer_stage
from minilingua.params import TokenizerParams
from minilingua.params_file import load_params
from tests.chat.corpus import write_corpus

_REPOSITORY = Path(__file__).parents[2]
LANGUAGES = ("en", "de", "bg", "el", "fi", "code")


@pytest.fixture(scope="session")
def tokenized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with data/tokens, models/tokenizer and params.yaml; read only."""
    root = tmp_path_factory.mktemp("tokenized")
    write_corpus(root)
    committed = load_params(_REPOSITORY / "params.yaml")
    tokenizer = TokenizerParams(origin="train", path=None, hub=None, revision=None, vocab_size=900)
    params = committed.model_copy(update={"tokenizer": tokenizer, "languages": LANGUAGES})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        tokenizer_stage.run(params)
        tokenize_stage.run(params)
    text = (_REPOSITORY / "params.yaml").read_text()
    everything = "[en, de, es, fr, it, pt, nl, pl, cs, bg, el, fi, sv, code]"
    assert everything in text
    (root / "params.yaml").write_text(text.replace(everything, f"[{', '.join(LANGUAGES)}]"))
    return root


@pytest.fixture
def workspace(tokenized: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the working directory."""
    shutil.copytree(tokenized, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"
