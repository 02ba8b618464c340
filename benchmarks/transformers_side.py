"""A training step as it is written with transformers: LlamaForCausalLM, AdamW, clipping.

The strongest ordinary form of it: attention by ``sdpa``, PyTorch's fused AdamW, and batches (with
the masks of packed rows) that are made before the clock starts.

Shape legend: b rows, l tokens of a row, padding included.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minilingua.base_model.llama import Vocabulary, config
from minilingua.params import ModelParams, TrainParams
from minilingua.training.data import PlannedSplit

IGNORED = -100
"""Label of tokens that are no targets, in transformers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One step."""

    loss: float
    """Mean over the supervised tokens, before the update."""
    grad_norm: float
    seconds: float
    optimizer_seconds: float
    """Of it: clipping and AdamW."""


class TransformersTrainer:
    """Model and optimizer with given weights."""

    def __init__(
        self, tensors: Mapping[str, Tensor], model: ModelParams, vocab_size: int, train: TrainParams
    ) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM

        vocabulary = Vocabulary(size=vocab_size, bos_token_id=1, eos_token_id=2, pad_token_id=0)
        described = config(model, vocabulary, init_std=0.02)
        llama = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(**described), attn_implementation="sdpa", dtype=torch.float32
        )
        missing, unexpected = llama.load_state_dict(dict(tensors), strict=False)
        if unexpected or set(missing) - {"lm_head.weight"}:  # tied to the embedding
            raise RuntimeError(f"weights do not fit: {missing}, {unexpected}")
        self.model = llama.train()
        self.train = train
        matrices = [p for p in llama.parameters() if p.dim() > 1]
        norms = [p for p in llama.parameters() if p.dim() == 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": train.weight_decay},
                {"params": norms, "weight_decay": 0.0},
            ],
            lr=train.lr,
            betas=(train.adam_beta1, train.adam_beta2),
            eps=train.adam_epsilon,
            fused=True,
        )

    def step(self, number: int, batch: Mapping[str, Tensor]) -> Outcome:
        """Trains step ``number``, counted from 1."""
        began = time.perf_counter()
        warm = min(1.0, number / max(self.train.warmup_steps, 1))
        for group in self.optimizer.param_groups:
            group["lr"] = self.train.lr * warm
        self.optimizer.zero_grad()
        loss = self.model(**batch, use_cache=False).loss
        loss.backward()
        computed = time.perf_counter()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.train.clip_grad)
        self.optimizer.step()
        value = float(loss)
        ended = time.perf_counter()
        return Outcome(
            loss=value,
            grad_norm=float(norm),
            seconds=ended - began,
            optimizer_seconds=ended - computed,
        )


def packed_batch(split: PlannedSplit, step: int) -> dict[str, Tensor]:
    """Returns a step's packs as rows, one document invisible to the other.

    Args:
        split: the plan and its tokens.
        step: 0-based step of the plan.

    Returns:
        ``input_ids``, ``labels``, ``position_ids`` [b, l], which restart in every document, and
        ``attention_mask`` [b, 1, l, l]: causal blocks on the diagonal.
    """
    batch, document = _rows(split, step)
    same = document[:, :, None] == document[:, None, :]
    causal = torch.ones(same.shape[1:], dtype=torch.bool).tril()
    return {**batch, "attention_mask": (same & causal).unsqueeze(1)}


def padded_batch(split: PlannedSplit, step: int) -> dict[str, Tensor]:
    """Returns a step's packs of one document each as rows padded at their ends.

    Returns:
        ``input_ids``, ``labels`` and the ``attention_mask`` [b, l] of what is no padding.
    """
    batch, document = _rows(split, step)
    del batch["position_ids"]
    return {**batch, "attention_mask": (document >= 0).long()}


def _rows(split: PlannedSplit, step: int) -> tuple[dict[str, Any], Tensor]:
    """Returns the batch, and [b, l] the number of each token's document in its row, -1: padding."""
    rows = [
        [split.languages[ref.language].file[ref.row] for ref in split.plan.pack(pack)]
        for pack in split.plan.packs_of_step(step)
    ]
    width = max(sum(len(document.tokens) for document in row) for row in rows)
    tokens, positions = (np.zeros((len(rows), width), dtype=np.int64) for _ in range(2))
    labels = np.full_like(tokens, IGNORED)
    numbers = np.full_like(tokens, -1)
    for index, row in enumerate(rows):
        begin = 0
        for number, document in enumerate(row):
            end = begin + len(document.tokens)
            ids = document.tokens.astype(np.int64)
            tokens[index, begin:end] = ids
            labels[index, begin:end] = np.where(document.loss_mask, ids, IGNORED)
            labels[index, begin] = IGNORED  # a first token has nothing before it
            positions[index, begin:end] = np.arange(end - begin)
            numbers[index, begin:end] = number
            begin = end
    batch = {
        "input_ids": torch.from_numpy(tokens),
        "labels": torch.from_numpy(labels),
        "position_ids": torch.from_numpy(positions),
    }
    return batch, torch.from_numpy(numbers)
