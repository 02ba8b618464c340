"""What training is given, checked before anything heavy is loaded: plan, tokens, base model.

Needs no torch, so that bad input is told of at once.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minilingua.core.errors import CheckpointError, DataError, ParamsError
from minilingua.core.files import require
from minilingua.core.languages import LANGUAGES
from minilingua.core.plan import PackPlan, SplitPlan, read_plan, unpack_ref
from minilingua.core.records import Split
from minilingua.core.tokens import open_token_file, token_file_digest
from minilingua.params import ModelParams
from minilingua.training.layout import Layout

PLAN = Path("data/plan")
TOKENS = Path("data/tokens")
BASE = Path("models/base")
BASE_MADE_BY = "minilingua base"
SPLITS: tuple[Split, ...] = ("train", "validation")
_CONFIG_KEYS = {
    "hidden_size": "hidden_size",
    "ffn_hidden_size": "intermediate_size",
    "layers": "num_hidden_layers",
    "attention_heads": "num_attention_heads",
    "kv_groups": "num_key_value_heads",
    "tied_embeddings": "tie_word_embeddings",
    "norm_epsilon": "rms_norm_eps",
}
"""Field of ``ModelParams`` ─► key of config.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingInputs:
    """What the files say."""

    plan: PackPlan
    vocab_size: int
    tokenizer_digest: str
    """SHA-256 that names the tokenizer and chat template of the tokens."""


def read_inputs(model: ModelParams) -> TrainingInputs:
    """Reads the plan and what describes the tokens and the base model.

    Raises:
        MissingInputError: a file is missing.
        DataError: nothing is planned for a split, the packs are too long for the model, the plan
            was made from other tokens, or tokens come from more than one tokenizer.
        CheckpointError: the base model is another one than ``model`` describes.
    """
    plan = read_plan(PLAN)
    if plan.sequence_length > model.max_positions:
        raise DataError(
            f"{PLAN}: packs hold up to {plan.sequence_length} tokens, model.max_positions is "
            f"{model.max_positions}"
        )
    digests: dict[str, str] = {}
    for split in SPLITS:
        if split not in plan.splits or plan.splits[split].packs == 0:
            raise DataError(f"{PLAN}: nothing is planned for {split}; run `dvc repro pack`")
        for code in planned_languages(plan, split):
            path = TOKENS / split / code
            digests[str(path)] = open_token_file(path).tokenizer_digest
            planned = plan.meta.get("token_digests", {}).get(f"{split}/{code}")
            if planned is not None and planned != token_file_digest(path):
                raise DataError(
                    f"{path} holds other tokens than those that {PLAN} was made from; "
                    "run `dvc repro pack`"
                )
    first = next(iter(digests))
    for name, digest in digests.items():
        if digest != digests[first]:
            raise DataError(f"{name} and {first} were made by different tokenizers")
    return TrainingInputs(
        plan=plan, vocab_size=read_vocab_size(model), tokenizer_digest=digests[first]
    )


def check_ranks(plan: SplitPlan, layout: Layout) -> None:
    """Checks that every data-parallel rank has something to do.

    A step's packs need not divide among the ranks: the loss is the same, some ranks wait.

    Raises:
        ParamsError: there are more data-parallel ranks than packs in the largest step.
    """
    most = max(len(plan.packs_of_step(step)) for step in range(plan.steps))
    if layout.data > most:
        raise ParamsError(
            f"data/plan: a step has at most {most} packs, {layout.data} data-parallel ranks would "
            f"never all work; use at most {most * layout.ranks // layout.data} ranks, or raise "
            "pack.global_batch"
        )


def planned_languages(plan: PackPlan, split: Split) -> list[str]:
    """Returns the languages that a split's plan refers to, in their canonical order."""
    found = {unpack_ref(int(ref)).language for ref in np.unique(plan.splits[split].conversations)}
    return [code for code in LANGUAGES if code in found]


def read_vocab_size(model: ModelParams, path: Path = BASE) -> int:
    """Returns the vocabulary size that config.json states, after comparing it with ``model``.

    Raises:
        MissingInputError: there is no config.json.
        CheckpointError: it cannot be read or describes another model.
    """
    file = require(path / "config.json", made_by=BASE_MADE_BY)
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        vocab_size = config["vocab_size"]
        rope = config.get("rope_parameters") or config
        found = {ours: config.get(theirs) for ours, theirs in _CONFIG_KEYS.items()}
        found["rope_base"] = rope.get("rope_theta")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file}: is no Llama configuration with a vocab_size") from error
    if not isinstance(vocab_size, int) or vocab_size < 1:
        raise CheckpointError(f"{file}: vocab_size is {vocab_size!r}")
    for name, value in found.items():
        # Heads, epsilon and rotation leave no trace in the shapes of the weights.
        if value is not None and value != getattr(model, name):
            raise CheckpointError(
                f"{file}: {_CONFIG_KEYS.get(name, 'rope_theta')} is {value!r}, but model.{name} in "
                f"params.yaml is {getattr(model, name)!r}"
            )
    return vocab_size
