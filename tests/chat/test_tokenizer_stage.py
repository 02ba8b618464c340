import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from minilingua.chat import tokenizer_stage
from minilingua.core.errors import DataError, MiniLinguaError, MissingInputError
from minilingua.core.files import tree_digest
from minilingua.params import Params, TokenizerParams
from tests.chat.chatml import CHATML, write_chatml
from tests.chat.conftest import VOCABULARY
from tests.chat.corpus import write_corpus


def local(params: Params, path: Path, vocab_size: int = 600) -> Params:
    tokenizer = TokenizerParams(
        origin="local", path=str(path), hub=None, revision=None, vocab_size=vocab_size
    )
    return params.model_copy(update={"tokenizer": tokenizer})


def test_the_same_bytes_on_every_run(
    workspace: Path, tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    tokenizer_stage.run(params)
    assert tree_digest(Path("models/tokenizer")) == tree_digest(workspace / "models/tokenizer")


def test_transformers_loads_it_and_agrees(workspace: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(workspace / "models/tokenizer")
    assert len(tokenizer) == VOCABULARY
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|begin|>", "<|end|>")
    assert tokenizer.pad_token_id != tokenizer.eos_token_id
    text = "Die Hauptstadt heißt Осло,\n  12 Häuser."
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    rendered = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Why?"}], tokenize=False, add_generation_prompt=True
    )
    assert rendered == "<|begin|><|user|>Why?<|end|><|assistant|>"


def test_the_directory_holds_nothing_of_this_machine(workspace: Path) -> None:
    files = sorted((workspace / "models/tokenizer").iterdir())
    assert [file.name for file in files] == [
        "chat_template.jinja",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert not any(str(workspace) in file.read_text() for file in files)


def test_a_local_tokenizer_is_copied_with_its_template_in_a_file(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_chatml(tmp_path / "given")
    (tmp_path / "given/model.safetensors").write_bytes(b"weights are not a tokenizer's")
    monkeypatch.chdir(tmp_path)
    tokenizer_stage.run(local(params, Path("given")))
    copied = Path("models/tokenizer")
    assert (copied / "chat_template.jinja").read_text() == CHATML
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (copied / name).read_bytes() == Path("given", name).read_bytes()
    assert not (copied / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("break_it", "error", "message"),
    [
        (lambda path: path.rename(path.with_name("away")), MissingInputError, "given is missing"),
        (lambda path: (path / "tokenizer.json").unlink(), MissingInputError, "tokenizer.json"),
        (
            lambda path: (path / "tokenizer.json").write_text("{}"),
            DataError,
            "tokenizer.json: not a tokenizer",
        ),
        (lambda path: write_chatml(path, template=None), DataError, "has no chat template"),
        (
            lambda path: (path / "tokenizer_config.json").write_text(
                json.dumps({"eos_token": "</s>"})
            ),
            DataError,
            "eos_token '</s>' is not in the vocabulary",
        ),
        (
            lambda path: write_chatml(path, size=500),
            DataError,
            "has 500 tokens where tokenizer.vocab_size in params.yaml is 600",
        ),
    ],
)
def test_a_local_tokenizer_that_does_not_fit_is_one_clear_line(
    tmp_path: Path,
    params: Params,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[Path], object],
    error: type[MiniLinguaError],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_chatml(Path("given"))
    break_it(Path("given"))
    with pytest.raises(error, match=re.escape(message)) as caught:
        tokenizer_stage.run(local(params, Path("given")))
    assert "\n" not in str(caught.value)
    assert not Path("models/tokenizer").exists()


def test_missing_conversations_name_the_stage_that_makes_them(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingInputError, match=r"data/conversations/train .*`minilingua curate`"):
        tokenizer_stage.run(params)
