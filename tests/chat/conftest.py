"""One tokenizer, trained once, for the tests of this package."""

from pathlib import Path

import pytest

from minilingua.chat import tokenizer_stage
from minilingua.params import Params, TokenizerParams
from minilingua.params_file import load_params
from tests.chat.corpus import write_corpus

VOCABULARY = 900
_REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def params() -> Params:
    """Parameters of which the sections of these stages do not depend on params.yaml."""
    tokenizer = TokenizerParams(
        origin="train", path=None, hub=None, revision=None, vocab_size=VOCABULARY
    )
    return load_params(_REPOSITORY / "params.yaml").model_copy(
        update={"tokenizer": tokenizer, "languages": ("en", "de", "bg", "el", "fi", "code")}
    )


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory, params: Params) -> Path:
    """A directory with data/conversations and a trained models/tokenizer; read only."""
    root = tmp_path_factory.mktemp("workspace")
    write_corpus(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        tokenizer_stage.run(params)
    return root
