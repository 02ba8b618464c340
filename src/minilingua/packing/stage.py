"""Stage ``pack``: the schedule of a training in ``data/plan``, its ledger in ``reports``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minilingua.core.errors import DataError
from minilingua.core.files import staged_directory, write_bytes, write_text
from minilingua.core.plan import PackPlan, SplitPlan, pack_ref, write_plan
from minilingua.core.records import SPLITS, Split
from minilingua.packing.corpus import Ints, LanguageCorpus, read_corpus
from minilingua.packing.ledger import LedgerRow, ledger_csv, ledger_rows, ledger_table
from minilingua.packing.mixture import interleave, order, plan_counts
from minilingua.packing.parts import Part, divide
from minilingua.packing.plot import mixture_png
from minilingua.packing.schedule import (
    Schedule,
    one_step,
    steps_of_conversations,
    steps_of_packs,
)
from minilingua.params import Params

TOKENS = Path("data/tokens")
OUTPUT = Path("data/plan")
LEDGER = Path("reports/mixture.csv")
LEDGER_OF_SOURCES = Path("reports/mixture_sources.csv")
PICTURE = Path("reports/mixture.png")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stream:
    """Conversations in an order, [n] each."""

    language: Ints
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Training:
    """The training split, planned, and what each language and source gets of it."""

    planned: _Planned
    languages: list[LedgerRow]
    sources: list[LedgerRow]
    held_back: list[str]
    """Parts that would be seen more often without ``mixture.max_epochs``."""


def run(params: Params) -> None:
    """Plans every step of the training and one pass over validation and test.

    Raises:
        MissingInputError: a token file is missing.
        DataError: a token file is damaged, or there is not even one step to train.
        ParamsError: a mixture weight names a language or source without data.
    """
    length = params.pack.sequence_length
    corpora = {split: read_corpus(TOKENS, split, params.languages, length) for split in SPLITS}
    training = _plan_training(corpora["train"], params)
    splits: dict[Split, _Planned] = {"train": training.planned}
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
    picture = mixture_png(training.languages, params.mixture)
    with staged_directory(OUTPUT) as aside:
        write_plan(aside, plan)
    write_text(LEDGER, ledger_csv(training.languages, by_source=False))
    write_text(LEDGER_OF_SOURCES, ledger_csv(training.sources, by_source=True))
    write_bytes(PICTURE, picture)
    print(_report(splits, training))  # noqa: T201 - the stage's report


def _plan_training(corpus: Sequence[LanguageCorpus], params: Params) -> _Training:
    pack, mixture = params.pack, params.mixture
    parts = divide(corpus, mixture)
    counts = plan_counts(parts, mixture, epochs=pack.epochs, seed=params.seed)
    part, position = interleave(counts, params.seed)
    element = np.zeros_like(position)
    for number, (item, count) in enumerate(zip(parts, counts, strict=True)):
        here = part == number
        element[here] = order(item, count, params.seed)[position[here]]
    numbers = {language.language: number for number, language in enumerate(corpus)}
    language_of_part = np.array([numbers[item.language] for item in parts], dtype=np.int8)
    stream = _stream(corpus, language_of_part[part], element)
    del part, position, element
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
    scheduled = _by_language(stream, np.sort(schedule.order), corpus)
    left_out = _by_language(stream, schedule.left_out, corpus)
    languages, sources = (
        ledger_rows(corpus, parts, mixture, scheduled, left_out, by_source=by_source)
        for by_source in (False, True)
    )
    return _Training(
        planned=_planned(stream, schedule, pack.sequence_length),
        languages=languages,
        sources=sources,
        held_back=_held_back(parts, counts, params),
    )


def _by_language(
    stream: _Stream, places: Ints, corpus: Sequence[LanguageCorpus]
) -> dict[str, Ints]:
    """Returns language ─► the elements of its corpus that stand at some places of the stream."""
    return {
        item.language: stream.element[places[stream.language[places] == number]]
        for number, item in enumerate(corpus)
    }


def _held_back(parts: Sequence[Part], counts: Sequence[int], params: Params) -> list[str]:
    """Returns the parts that would be seen more often without ``mixture.max_epochs``."""
    unlimited = params.mixture.model_copy(update={"max_epochs": None})
    wanted = plan_counts(parts, unlimited, epochs=params.pack.epochs, seed=params.seed)
    return [
        part.language if part.source is None else f"{part.language}/{part.source}"
        for part, count, more in zip(parts, counts, wanted, strict=True)
        if count < more
    ]


def _plan_held_out(corpus: Sequence[LanguageCorpus], sequence_length: int) -> _Planned:
    sizes = [len(item) for item in corpus]
    language = np.repeat(np.arange(len(corpus), dtype=np.int8), sizes)
    element = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])
    schedule = one_step((item.lengths for item in corpus), capacity=sequence_length)
    return _planned(_stream(corpus, language, element), schedule, sequence_length)


def _stream(corpus: Sequence[LanguageCorpus], language: Ints, element: Ints) -> _Stream:
    """Looks up what stands at each place of a stream."""
    lengths, supervised = np.zeros_like(element), np.zeros_like(element)
    refs = np.zeros(len(element), dtype=np.uint64)
    for number, item in enumerate(corpus):
        here = language == number
        lengths[here] = item.lengths[element[here]]
        supervised[here] = item.supervised[element[here]]
        rows = item.rows[element[here]].astype(np.uint64)
        refs[here] = rows | np.uint64(pack_ref(item.language, 0))
    return _Stream(
        language=language, element=element, lengths=lengths, supervised=supervised, refs=refs
    )


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
            "conversations_per_step": _spread(None, bounds),
        },
    )


def _spread(amounts: Ints | None, bounds: Ints) -> dict[str, float]:
    """Returns mean, least and most of the sums between bounds; without amounts each counts one."""
    if amounts is not None:
        upto = np.zeros(len(amounts) + 1, dtype=np.int64)
        np.cumsum(amounts, out=upto[1:])
        bounds = upto[bounds]
    sums = np.diff(bounds)
    return {"mean": round(float(sums.mean()), 3), "min": int(sums.min()), "max": int(sums.max())}


def _report(splits: dict[Split, _Planned], training: _Training) -> str:
    """Returns the tables for the terminal."""
    lines = [ledger_table(training.languages), ""]
    if training.held_back:
        lines += [f"held back by mixture.max_epochs: {', '.join(training.held_back)}", ""]
    lines.append("split       steps   packs  conversations      tokens    fill")
    for split, planned in splits.items():
        figures = planned.figures
        lines.append(
            f"{split:<10} {figures['steps']:>6} {figures['packs']:>7} "
            f"{figures['conversations']:>14,} {figures['tokens']:>11,} {figures['fill']:>7.2%}"
        )
    figures = splits["train"].figures
    for name in ("tokens", "supervised_tokens", "conversations"):
        spread = figures[f"{name}_per_step"]
        lines.append(
            f"{name.replace('_', ' ')} a step: {spread['mean']:.0f} "
            f"({spread['min']} to {spread['max']})"
        )
    return "\n".join(lines)
