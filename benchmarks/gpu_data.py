"""Conversations as long as those of the real sets, of random tokens, in a plan of any pack size.

The published run's 1,367,005 conversations hold 216.8 M tokens: 159 each. Lengths are drawn from a
log-normal distribution of that mean; a third of each conversation is the answer.
"""

from pathlib import Path

import numpy as np

from minilingua.core.plan import PackPlan, SplitPlan, pack_ref, write_plan
from minilingua.core.tokens import TokenizedConversation, token_file_digest, write_token_file

MEAN_TOKENS = 159
_SPREAD = 0.7
_ANSWER = 1 / 3
_DIGEST = "g" * 64
_LANGUAGE = "en"


def lengths(count: int, longest: int, seed: int = 0) -> list[int]:
    """Returns token counts of mean ``MEAN_TOKENS``."""
    drawn = np.random.default_rng(seed).lognormal(sigma=_SPREAD, size=count)
    scaled = drawn / drawn.mean() * MEAN_TOKENS
    return [int(value) for value in np.clip(np.rint(scaled), 8, longest)]


def write_data(
    root: Path, *, vocab_size: int, sequence_length: int, steps: int, packs_per_step: int
) -> None:
    """Writes ``data/tokens`` and ``data/plan`` below ``root``.

    Args:
        root: where; the directories must not be there yet.
        vocab_size: tokens are below it.
        sequence_length: tokens that a pack holds at most.
        steps: of the training split; validation is one pack.
        packs_per_step: packs of a step.
    """
    generator = np.random.default_rng(1)
    packs = steps * packs_per_step
    sizes = lengths(packs * max(1, 2 * sequence_length // MEAN_TOKENS), sequence_length)
    bounds = _pack(sizes, sequence_length, packs)
    digests: dict[str, str] = {}
    splits = {}
    for split, offsets, per_step in (
        ("train", bounds, packs_per_step),
        ("validation", bounds[:2], 1),
    ):
        path = root / "data/tokens" / split / _LANGUAGE
        write_token_file(
            path,
            (_conversation(generator, row, sizes[row], vocab_size) for row in range(offsets[-1])),
            vocab_size=vocab_size,
            tokenizer_digest=_DIGEST,
        )
        digests[f"{split}/{_LANGUAGE}"] = token_file_digest(path)
        splits[split] = SplitPlan(
            conversations=np.array(
                [pack_ref(_LANGUAGE, row) for row in range(offsets[-1])], dtype=np.uint64
            ),
            pack_offsets=np.array(offsets, dtype=np.uint64),
            step_offsets=np.arange(0, len(offsets), per_step, dtype=np.uint64),
        )
    (root / "data/plan").mkdir(parents=True)
    plan = PackPlan(
        sequence_length=sequence_length,
        splits=splits,  # type: ignore[arg-type]  # the keys are splits
        meta={"token_digests": digests},
    )
    write_plan(root / "data/plan", plan)


def _pack(sizes: list[int], sequence_length: int, packs: int) -> list[int]:
    """Returns [packs + 1] where each pack begins: first come, first served."""
    bounds, used = [0], 0
    for row, size in enumerate(sizes):
        if used + size > sequence_length:
            bounds.append(row)
            used = 0
            if len(bounds) > packs:
                break
        used += size
    return bounds


def _conversation(
    generator: np.random.Generator, row: int, length: int, vocab_size: int
) -> TokenizedConversation:
    mask = np.zeros(length, dtype=np.uint8)
    mask[-max(2, round(length * _ANSWER)) :] = 1
    tokens = generator.integers(3, vocab_size, length).astype(np.uint32)
    return TokenizedConversation(id=f"{row:016x}", tokens=tokens, loss_mask=mask)
