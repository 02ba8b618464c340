"""How the documents of a step lie: in the packs of a real plan, one a row, or all equally long.

packed   the packs of the plan: several documents a row
padded   the plan's conversations in their order, one a row; rows padded to the longest
equal    the same tokens cut into documents as long as a pack, every token a target but the
         first: nothing to gain from packing, padding or prompts
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torch import Tensor

from benchmarks.line import Line
from benchmarks.transformers_side import packed_batch, padded_batch
from minilingua.core.plan import PackPlan, SplitPlan, pack_ref, read_plan
from minilingua.core.tokens import TokenizedConversation, open_token_file, write_token_file
from minilingua.training.data import PlannedSplit, open_split

Layout = Literal["packed", "padded", "equal"]
LAYOUTS: tuple[Layout, ...] = ("packed", "padded", "equal")

ROWS = 32
"""Conversations of a step in layout ``padded``."""
_LANGUAGE = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """The data of a measurement."""

    split: PlannedSplit
    packs_per_step: int
    batch: Callable[[PlannedSplit, int], Mapping[str, Tensor]]
    """Makes a step (0-based) a batch of transformers."""


def arrange(layout: Layout, line: Line, *, steps: int, vocab_size: int) -> Documents:
    """Returns the documents of at least ``steps`` steps.

    Args:
        layout: how they lie.
        line: where the data stages have run.
        steps: steps that will be trained.
        vocab_size: vocabulary of the model, no smaller than the tokenizer's.

    Raises:
        ValueError: the plan has too few steps.
    """
    plan = read_plan(line.path / "data/plan")
    tokens = line.path / "data/tokens"
    if layout == "packed":
        schedule = plan.splits["train"]
    elif layout == "padded":
        schedule = _one_a_row(plan.splits["train"], steps)
    else:
        tokens = line.scratch / "equal"
        schedule = _equal(line.path / "data/tokens/train", tokens / "train", plan, steps)
    if schedule.steps < steps:
        raise ValueError(f"the plan has {schedule.steps} steps, {steps} are wanted")
    split = open_split(
        PackPlan(sequence_length=plan.sequence_length, splits={"train": schedule}, meta={}),
        "train",
        vocab_size=vocab_size,
        with_slots=True,
        tokens=tokens,
    )
    return Documents(
        split=split,
        packs_per_step=int(np.diff(schedule.step_offsets.astype(np.int64)).max()),
        batch=packed_batch if layout == "packed" else padded_batch,
    )


def _one_a_row(planned: SplitPlan, steps: int) -> SplitPlan:
    steps = min(steps, len(planned.conversations) // ROWS)
    return _single(planned.conversations[: steps * ROWS], ROWS)


def _equal(source: Path, target: Path, plan: PackPlan, steps: int) -> SplitPlan:
    """Writes the documents of layout ``equal``, as many a step as the plan has packs."""
    length = plan.sequence_length
    planned = plan.splits["train"]
    rows = int(planned.step_offsets[1])
    stream = np.concatenate(
        [open_token_file(path).tokens for path in sorted(source.iterdir()) if path.is_dir()]
    )
    wanted = rows * steps
    documents = np.resize(stream, (wanted, length)).astype(np.uint32)
    mask = np.ones(length, dtype=np.uint8)
    write_token_file(
        target / _LANGUAGE,
        (
            TokenizedConversation(id=f"{number:016x}", tokens=document, loss_mask=mask)
            for number, document in enumerate(documents)
        ),
        vocab_size=int(stream.max()) + 1,
        tokenizer_digest="",
    )
    refs = np.array([pack_ref(_LANGUAGE, row) for row in range(wanted)], dtype=np.uint64)
    return _single(refs, rows)


def _single(refs: np.ndarray[tuple[int], np.dtype[np.uint64]], rows: int) -> SplitPlan:
    """Every conversation in a pack of its own, ``rows`` packs a step."""
    packs = len(refs)
    return SplitPlan(
        conversations=refs,
        pack_offsets=np.arange(packs + 1, dtype=np.uint64),
        step_offsets=np.arange(0, packs + 1, rows, dtype=np.uint64),
    )
