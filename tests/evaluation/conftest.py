"""A tiny world: a tokenizer with a template, a Llama of two layers, test and training data."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from minilingua.core.files import tree_digest, write_jsonl
from minilingua.core.records import (
    ANSWER_FORMATS,
    Choice,
    Conversation,
    InstructionExample,
    Message,
)
from minilingua.core.seeding import content_id
from minilingua.core.tokens import TokenizedConversation, write_token_file
from minilingua.evaluation.prompts import PromptEncoder

SPECIAL = ["<|unk|>", "<|pad|>", "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
BEGIN, END = SPECIAL.index("<|begin|>"), SPECIAL.index("<|end|>")

TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|' + message['role'] + '|>' + message['content'] + eos_token -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""

LINES_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|' + message['role'] + '|>\n' + message['content'] | trim + '<|end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}{%- endif -%}
"""
"""Roles on lines of their own, contents stripped: the other common kind of template."""


def write_tokenizer(path: Path, template: str | None = TEMPLATE) -> Path:
    tokenizer = Tokenizer(models.BPE(unk_token="<|unk|>"))  # noqa: S106 - a token of text
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = ["which river runs through the town of Rauma", "the answer is the second one, Oulu"]
    tokenizer.train_from_iterator(texts * 3, trainer)
    path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path / "tokenizer.json"))
    config = {
        "bos_token": "<|begin|>",
        "eos_token": "<|end|>",
        "pad_token": "<|pad|>",
        "unk_token": "<|unk|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
    }
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    if template is not None:
        (path / "chat_template.jinja").write_text(template)
    return path


def tiny_llama(seed: int = 0, vocab_size: int = 320) -> Any:
    from transformers.models.llama import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            initializer_range=0.3,  # far from uniform, so that mistakes show
            pad_token_id=None,
            bos_token_id=BEGIN,
            eos_token_id=END,
        )
        return LlamaForCausalLM(config).eval()


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Tiny models: a second thread only waits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minilingua.evaluation.model.THREADS", 1)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model() -> Any:
    return tiny_llama()


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def encoder(tokenizer_dir: Path) -> PromptEncoder:
    return PromptEncoder(tokenizer_dir)


def mcqa_example(
    key: str,
    answer_format: str = "text",
    *,
    language: str = "en",
    instruction: str = "en",
    fact: str | None = None,
    options: tuple[str, ...] = ("Rauma", "Oulu town", "Turku"),
    answer: int = 1,
) -> InstructionExample:
    labels = {
        "letter": tuple("ABCDEFGH"[: len(options)]),
        "number": tuple(str(number) for number in range(1, len(options) + 1)),
        "text": options,
    }
    candidates = labels[answer_format]
    return InstructionExample(
        source="include",
        row="rows.jsonl:1",
        language=language,
        task="mcqa",
        messages=(
            Message(role="user", content=f"{key}, {answer_format}: {' or '.join(candidates)}?"),
            Message(role="assistant", content=candidates[answer]),
        ),
        key=key,
        choice=Choice(
            question=f"{key}?",
            options=options,
            candidates=candidates,
            answer=answer,
            answer_format=answer_format,  # type: ignore[arg-type]  # one of the literals by use
            instruction_language=instruction,
        ),
        fact=fact,
    )


def conversation_of(example: InstructionExample, number: int) -> Conversation:
    return Conversation(
        id=content_id(f"{example.language}{number}"),
        key=example.key,
        source=example.source,
        language=example.language,
        task=example.task,
        messages=example.messages,
        choice=example.choice,
        fact=example.fact,
    )


def plain_conversation(
    number: int, question: str, answer: str, language: str, fact: str | None = None
) -> Conversation:
    return Conversation(
        id=content_id(f"{language}{number}"),
        key=f"plain-{number}",
        source="aya",
        language=language,
        task="instruction",
        messages=(
            Message(role="user", content=question),
            Message(role="assistant", content=answer),
        ),
        fact=fact,
    )


def tokenized(conversation: Conversation, encoder: PromptEncoder) -> TokenizedConversation:
    *prompt, answer = conversation.messages
    request = encoder.request(prompt, [answer.content])
    targets = [*request.branches[0], END]
    return TokenizedConversation(
        id=conversation.id,
        tokens=np.array([*request.prefix, *targets], dtype=np.uint32),
        loss_mask=np.array([0] * len(request.prefix) + [1] * len(targets), dtype=np.uint8),
    )


@pytest.fixture
def world(
    tmp_path: Path, encoder: PromptEncoder, tokenizer_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A repository root, made current, that holds what ``evaluate`` reads."""
    monkeypatch.chdir(tmp_path)
    for language in ("en", "fi"):
        examples = [
            mcqa_example(
                f"{language}-key-{number}",
                answer_format,
                language=language,
                instruction=language if number % 2 else "en",
                fact=f"fact-{number}",
                answer=number % 3,
            )
            for number in range(6)
            for answer_format in ANSWER_FORMATS
        ]
        # In test: questions 0 to 3, each in one format; facts 0 and 1 are in train as well.
        test = [conversation_of(examples[3 * n + n % 3], 100 + n) for n in range(4)]
        test.append(plain_conversation(200, "And you? <|end|>", "the second one", language))
        train = [
            plain_conversation(300 + n, f"Where is {n}?", "the town of Oulu", language, f"fact-{n}")
            for n in range(2)
        ]
        write_jsonl(tmp_path / f"data/mcqa/all_formats/{language}.jsonl", examples)
        for split, conversations in (("test", test), ("train", train)):
            write_jsonl(tmp_path / f"data/conversations/{split}/{language}.jsonl", conversations)
            write_token_file(
                tmp_path / f"data/tokens/{split}/{language}",
                [tokenized(conversation, encoder) for conversation in conversations],
                vocab_size=320,
                tokenizer_digest=tree_digest(tokenizer_dir),
            )
    shutil.copytree(tokenizer_dir, tmp_path / "models/tokenizer")  # merges are not seeded
    tiny_llama(0).save_pretrained(tmp_path / "models/base")
    tiny_llama(1).save_pretrained(tmp_path / "models/hf")
    return tmp_path


@pytest.fixture
def params_for() -> Callable[..., Any]:
    """Returns the default params.yaml with languages and the evaluate section replaced."""
    from minilingua.params_file import load_params

    root = Path(__file__).parents[2]
    defaults = load_params(root / "params.yaml")

    def make(**evaluate: Any) -> Any:
        section = defaults.evaluate.model_copy(
            update={"batch_tokens": 256, "resamples": 100, "max_new_tokens": 6, **evaluate}
        )
        return defaults.model_copy(update={"languages": ("en", "fi"), "evaluate": section})

    return make
