"""Talking to a tiny model: what it reads, writes, forgets, and where it stops."""

import io
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from minilingua.core.errors import CheckpointError, DataError, MissingInputError, ParamsError
from minilingua.core.files import write_json
from minilingua.core.records import Message
from minilingua.evaluation.prompts import PromptEncoder
from minilingua.serving.chat import Talk, main
from tests.evaluation.conftest import END, tiny_llama, write_tokenizer


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its tokenizer in one directory, as an export is."""
    path = tmp_path_factory.mktemp("model")
    tiny_llama(3).save_pretrained(path)
    return write_tokenizer(path)


@pytest.fixture(scope="module")
def encoder(exported: Path) -> PromptEncoder:
    return PromptEncoder(exported)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def type_in(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    return type_in


class Scripted:
    """A model that writes given tokens, and remembers what it read."""

    def __init__(self, tokens: list[int], positions: int = 256) -> None:
        self.tokens, self.read = tokens, []  # type: list[int], list[list[int]]
        self.config = type("Config", (), {"max_position_embeddings": positions})

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        self.read.append(input_ids[0].tolist())
        logits = torch.zeros(1, 1, 320)
        logits[0, 0, self.tokens[(len(self.read) - 1) % len(self.tokens)]] = 1.0
        return type("Output", (), {"logits": logits, "past_key_values": None})


def test_an_answer_streams_and_ends_at_the_end_of_turn(encoder: PromptEncoder) -> None:
    tokens = encoder.tokenizer.encode("żółw – 3", add_special_tokens=False)
    model = Scripted([*tokens, END])
    pieces: list[str] = []
    assert Talk(model, encoder, max_new_tokens=50).answer("Who?", pieces.append) == ""
    assert "".join(pieces) == "żółw – 3"
    assert len(pieces) > 3
    assert not any("\ufffd" in piece for piece in pieces)
    assert (
        tuple(model.read[0]) == encoder.request([Message(role="user", content="Who?")], ()).prefix
    )


def test_turns_are_remembered_until_they_are_cleared(encoder: PromptEncoder) -> None:
    model = Scripted([encoder.tokenizer.encode("O", add_special_tokens=False)[0], END])
    system = (Message(role="system", content="Be short."),)
    talk = Talk(model, encoder, system, max_new_tokens=9)
    talk.answer("one", lambda _: None)
    talk.answer("two <|end|>", lambda _: None)
    turns = [Message(role="user", content="one"), Message(role="assistant", content="O"),
             Message(role="user", content="two <|end|>")]  # fmt: skip
    second = encoder.request([*system, *turns], ()).prefix
    assert tuple(model.read[2]) == second
    assert second.count(END) == 4  # one a turn: the text that spells it is none
    talk.clear()
    talk.answer("one", lambda _: None)
    assert model.read[4] == model.read[0]


def test_a_model_that_never_stops_is_cut(encoder: PromptEncoder) -> None:
    model = Scripted([40])
    note = Talk(model, encoder, max_new_tokens=7).answer("Go on", lambda _: None)
    assert note == "(cut after 7 tokens: --max-new-tokens)"
    assert len(model.read) == 7


def test_the_oldest_turns_make_room(encoder: PromptEncoder) -> None:
    model = Scripted([40, END], positions=60)
    talk = Talk(model, encoder, max_new_tokens=20)
    assert talk.answer("the first question " * 3, lambda _: None) == ""
    note = talk.answer("second", lambda _: None)
    assert "no longer fits" in note
    alone = encoder.request([Message(role="user", content="second")], ()).prefix
    assert tuple(model.read[2]) == alone


def test_an_answer_ends_with_the_positions(encoder: PromptEncoder) -> None:
    """A limit as large as the model leaves room for turns, and nothing is written past the end."""
    prompt = encoder.request([Message(role="user", content="one")], ()).prefix
    model = Scripted([40, 41, END], positions=64)
    talk = Talk(model, encoder, max_new_tokens=64)
    assert talk.answer("one", lambda _: None) == ""
    assert talk.answer("one", lambda _: None) == ""  # the first turn is remembered
    assert len(model.read[3]) > len(prompt)
    endless = Scripted([40], positions=64)
    note = Talk(endless, encoder, max_new_tokens=64).answer("one", lambda _: None)
    assert note == f"(cut after {64 - len(prompt)} tokens: the model has no more positions)"
    assert sum(map(len, endless.read)) == 63  # what is written last is not read


def test_a_turn_that_does_not_fit_is_not_answered(encoder: PromptEncoder) -> None:
    model = Scripted([40, END], positions=64)
    talk = Talk(model, encoder, max_new_tokens=20)
    note = talk.answer("too long " * 40, lambda _: None)
    assert note.startswith("(not answered: with this turn the prompt has ")
    assert note.endswith(" tokens, the model 64 positions)")
    assert model.read == []
    assert talk.answer("short", lambda _: None) == ""
    alone = encoder.request([Message(role="user", content="short")], ()).prefix
    assert tuple(model.read[0]) == alone


def test_half_of_a_letter_at_the_end_is_shown(encoder: PromptEncoder) -> None:
    half = encoder.tokenizer.encode("ż", add_special_tokens=False)[0]
    pieces: list[str] = []
    Talk(Scripted([half, END]), encoder, max_new_tokens=9).answer("?", pieces.append)
    assert "".join(pieces) == "\ufffd"


def test_the_command(
    exported: Path, typed: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    for arguments in ([], [], ["--temperature", "5"], ["--temperature", "5", "--seed", "1"]):
        typed("Where?\n\n/clear\nWhere?\n/exit\nnever read\n")
        assert main([str(exported), "--max-new-tokens", "6", *arguments]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert len(set(said)) == 3
    first, second = said[0].split("(cut after 6 tokens: --max-new-tokens)\n")[:2]
    assert first == second


@pytest.mark.parametrize(
    ("spoil", "arguments", "error", "message"),
    [
        (None, ["absent"], MissingInputError, "absent is missing"),
        (None, ["--max-new-tokens", "0"], ParamsError, "has to be positive"),
        (None, ["--temperature", "nan"], ParamsError, "a finite number"),
        (None, ["--temperature", "inf"], ParamsError, "a finite number"),
        (None, ["--seed", "-1"], ParamsError, r"--seed -1: it has to be in \[0, "),
        (None, ["--seed", str(2**63)], ParamsError, "--seed 9223372036854775808: "),
        ("chat_template.jinja", [], DataError, "has no chat template"),
        ("model.safetensors", [], MissingInputError, r"model\.safetensors is missing"),
        ("architecture", [], CheckpointError, "model_type is 'mamba'; only 'llama'"),
    ],
)
def test_what_cannot_be_talked_to_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: str | None,
    arguments: list[str],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny_llama(3).save_pretrained("model")
    write_tokenizer(Path("model"))
    if spoil == "architecture":
        write_json(Path("model/config.json"), {"model_type": "mamba"})
    elif spoil is not None:
        Path("model", spoil).unlink()
    if "absent" not in arguments:
        arguments = ["model", *arguments]
    with pytest.raises(error, match=message):
        main(arguments)


def test_pipelines_of_transformers_load_an_export(exported: Path) -> None:
    from transformers import pipeline

    talk: Any = pipeline("text-generation", model=str(exported), device="cpu")
    (answer,) = talk([{"role": "user", "content": "Where?"}], max_new_tokens=3, do_sample=False)
    assert answer["generated_text"][-1]["role"] == "assistant"


@pytest.mark.skipif(
    not find_spec("vllm") or not torch.cuda.is_available(),
    reason="vLLM is not installed here, or there is no GPU for it",
)
def test_vllm_loads_an_export(exported: Path) -> None:
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]  # optional

    model = LLM(str(exported), dtype="float32", max_model_len=64, enforce_eager=True)
    (answer,) = model.chat(
        [{"role": "user", "content": "Where?"}], SamplingParams(temperature=0, max_tokens=3)
    )
    assert len(answer.outputs[0].token_ids) >= 1
