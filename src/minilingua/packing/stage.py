"""Stage ``pack``: the complete schedule of a training in ``data/plan``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minilingua.core.errors import DataError
from minilingua.core.files import staged_directory, write_text
from minilingua.core.plan import PackPlan, SplitPlan, pack_ref, write_plan
from minilingua.core.records import SPLITS, Split
from minilingua.packing.corpus import Ints, LanguageCorpus, read_corpus
from minilingua.packing.ledger import LedgerRow, ledger_csv, ledger_rows
from minilingua.packing.mixture import interleave, orders, planned_shares
from minilingua.packing.schedule import (
    Schedule,
    one_step,
    steps_of_conversations,
    steps_of_packs,
)
from minilingua.params import Params

TOKENS = Path("data/tokens")
OUTPUT = Path("data/plan")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """Conversations in an order, [n] each."""

    part: Ints
    """Index of the language in the corpus."""
    element: Ints
    """Index into that language's corpus."""
    lengths: Ints
    supervised: Ints
    refs: npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """One split, planned."""

    plan: SplitPlan
    figures: dict[str, Any]
    """Its entry in plan.json."""


def run(params: Params) -> None:
    """Plans every step of the training and one pass over validation and test.

    Raises:
        MissingInputError: a token file is missing.
        DataError: a token file is damaged, or there is not even one step to train.
        ParamsError: a mixture weight names a language without data.
    """
    length = params.pack.sequence_length
    corpora = {split: read_corpus(TOKENS, split, params.languages, length) for split in SPLITS}
    planned, ledger = _plan_training(corpora["train"], params)
    splits: dict[Split, _Planned] = {"train": planned}
    for split in SPLITS[1:]:
        splits[split] = _plan_held_out(corpora[split], length)
    meta = {
        "seed": params.seed,
        "pack": params.pack.model_dump(mode="json"),
        "mixture": params.mixture.model_dump(mode="json"),
        "figures": {split: planned.figures for split, planned in splits.items()},
        "dropped_too_long": {
            split: {part.language: part.dropped_too_long for part in corpus}
            for split, corpus in corpora.items()
        },
        "token_digests": {
            f"{split}/{part.language}": part.digest
            for split, corpus in corpora.items()
            for part in corpus
        },
    }
    plan = PackPlan(
        sequence_length=length,
        splits={split: planned.plan for split, planned in splits.items()},
        meta=meta,
    )
    with staged_directory(OUTPUT) as aside:
        write_plan(aside, plan)
        write_text(aside / "ledger.csv", ledger_csv(ledger))
    print(_report(splits, ledger))  # noqa: T201 - the stage's report


def _plan_training(
    corpus: Sequence[LanguageCorpus], params: Params
) -> tuple[_Planned, list[LedgerRow]]:
    pack = params.pack
    shares = planned_shares(corpus, params.mixture)
    seen = orders(corpus, params.mixture, epochs=pack.epochs, seed=params.seed)
    part, position = interleave([len(seen[item.language]) for item in corpus], params.seed)
    element = np.zeros_like(position)
    for number, item in enumerate(corpus):
        element[part == number] = seen[item.language][position[part == number]]
    stream = _stream(corpus, part, element)
    if pack.global_batch_unit == "conversations":
        schedule = steps_of_conversations(
            stream.lengths, capacity=pack.sequence_length, batch=pack.global_batch
        )
    else:
        schedule = steps_of_packs(
            stream.lengths,
            capacity=pack.sequence_length,
            batch=pack.global_batch // pack.sequence_length,
            seed=params.seed,
        )
    if len(schedule.step_offsets) == 1:
        raise DataError(
            f"{TOKENS / 'train'}: {len(stream.refs)} conversations with "
            f"{int(stream.lengths.sum())} tokens over pack.epochs {pack.epochs:g} are less than "
            f"half a step of pack.global_batch {pack.global_batch} {pack.global_batch_unit}"
        )
    kept = np.sort(schedule.order)
    rows = ledger_rows(
        corpus,
        shares,
        {
            item.language: stream.element[kept[stream.part[kept] == number]]
            for number, item in enumerate(corpus)
        },
        {
            item.language: int((stream.part[schedule.left_out] == number).sum())
            for number, item in enumerate(corpus)
        },
    )
    return _planned(stream, schedule, pack.sequence_length), rows


def _plan_held_out(corpus: Sequence[LanguageCorpus], sequence_length: int) -> _Planned:
    part = np.repeat(np.arange(len(corpus)), [len(item) for item in corpus])
    element = np.concatenate([np.arange(len(item)) for item in corpus])
    schedule = one_step((item.lengths for item in corpus), capacity=sequence_length)
    return _planned(_stream(corpus, part, element), schedule, sequence_length)


def _stream(corpus: Sequence[LanguageCorpus], part: Ints, element: Ints) -> _Stream:
    """Looks up what stands at each place of a stream."""
    lengths, supervised = np.zeros_like(element), np.zeros_like(element)
    refs = np.zeros(len(element), dtype=np.uint64)
    for number, item in enumerate(corpus):
        here = part == number
        lengths[here] = item.lengths[element[here]]
        supervised[here] = item.supervised[element[here]]
        rows = item.rows[element[here]].astype(np.uint64)
        refs[here] = rows | np.uint64(pack_ref(item.language, 0))
    return _Stream(part=part, element=element, lengths=lengths, supervised=supervised, refs=refs)


def _planned(stream: _Stream, schedule: Schedule, sequence_length: int) -> _Planned:
    plan = SplitPlan(
        conversations=stream.refs[schedule.order],
        pack_offsets=schedule.pack_offsets.astype(np.uint64),
        step_offsets=schedule.step_offsets.astype(np.uint64),
    )
    bounds = schedule.pack_offsets[schedule.step_offsets]
    tokens = int(stream.lengths[schedule.order].sum())
    return _Planned(
        plan=plan,
        figures={
            "conversations": len(schedule.order),
            "packs": plan.packs,
            "steps": plan.steps,
            "tokens": tokens,
            "fill": round(tokens / max(plan.packs * sequence_length, 1), 6),
            "dropped_last_step": len(schedule.left_out),
            "tokens_per_step": _spread(stream.lengths[schedule.order], bounds),
            "supervised_tokens_per_step": _spread(stream.supervised[schedule.order], bounds),
            "conversations_per_step": _spread(np.ones_like(schedule.order), bounds),
        },
    )


def _spread(amounts: Ints, bounds: Ints) -> dict[str, float]:
    """Returns mean, least and most of the sums between bounds."""
    sums = np.diff(np.concatenate([[0], np.cumsum(amounts)])[bounds])
    return {"mean": round(float(sums.mean()), 3), "min": int(sums.min()), "max": int(sums.max())}


def _report(splits: dict[Split, _Planned], ledger: Sequence[LedgerRow]) -> str:
    """Returns the table for the terminal."""
    lines = ["split       steps   packs  conversations     tokens  fill"]
    for split, planned in splits.items():
        figures = planned.figures
        lines.append(
            f"{split:<10} {figures['steps']:>6} {figures['packs']:>7} "
            f"{figures['conversations']:>14} {figures['tokens']:>10}  {figures['fill']:.1%}"
        )
    figures = splits["train"].figures
    for name in ("tokens", "supervised_tokens", "conversations"):
        spread = figures[f"{name}_per_step"]
        lines.append(
            f"{name.replace('_', ' ')} a step: {spread['mean']:.0f} "
            f"({spread['min']} to {spread['max']})"
        )
    epochs = ", ".join(f"{row.language} {row.epochs:.2f}" for row in ledger)
    lines.append(f"epochs: {epochs}")
    return "\n".join(lines)
