"""Stage ``pack``: the schedule of a training in ``data/plan``, its ledger in ``reports``.

data/tokens (lengths) ─► stream ─► steps ─┬► data/plan
                                          └► tally ─► reports/mixture*.csv, mixture.png
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minilingua.core.errors import DataError
from minilingua.core.files import staged_directory, write_bytes, write_text
from minilingua.core.plan import WrittenSplit, write_meta, write_split
from minilingua.core.records import SPLITS, Split
from minilingua.packing.corpus import LanguageCorpus, read_corpus
from minilingua.packing.ledger import LedgerRow, ledger_csv, ledger_rows, ledger_table
from minilingua.packing.mixture import plan_counts
from minilingua.packing.parts import Part, divide
from minilingua.packing.plot import mixture_png
from minilingua.packing.schedule import Step, one_step, steps_of_conversations, steps_of_packs
from minilingua.packing.stream import held_out_stream, training_stream
from minilingua.packing.tally import Tally
from minilingua.params import Params

TOKENS = Path("data/tokens")
OUTPUT = Path("data/plan")
LEDGER = Path("reports/mixture.csv")
LEDGER_OF_SOURCES = Path("reports/mixture_sources.csv")
PICTURE = Path("reports/mixture.png")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """One split, planned and written."""

    written: WrittenSplit
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
        DataError: a token file is damaged, there is nothing to validate on, or not even one step
            to train.
        ParamsError: a mixture weight names a language or source without data.
    """
    length = params.pack.sequence_length
    corpora = {split: read_corpus(TOKENS, split, params.languages, length) for split in SPLITS}
    for split in ("train", "validation"):  # a training cannot do without; test may be empty
        _check_any(split, corpora[split], length)
    with staged_directory(OUTPUT) as output:
        training = _plan_training(output, corpora["train"], params)
        splits: dict[Split, _Planned] = {"train": training.planned}
        for split in SPLITS[1:]:
            splits[split] = _plan_held_out(output, split, corpora[split], length)
        picture = mixture_png(training.languages, params.mixture)
        write_meta(
            output,
            length,
            {split: planned.written for split, planned in splits.items()},
            {
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
            },
        )
    write_text(LEDGER, ledger_csv(training.languages, by_source=False))
    write_text(LEDGER_OF_SOURCES, ledger_csv(training.sources, by_source=True))
    write_bytes(PICTURE, picture)
    print(_report(splits, training))  # noqa: T201 - the stage's report


def _check_any(split: Split, corpus: Sequence[LanguageCorpus], sequence_length: int) -> None:
    if any(map(len, corpus)):
        return
    if too_long := sum(item.dropped_too_long for item in corpus):
        raise DataError(
            f"{TOKENS / split}: none of its {too_long} conversations fits into "
            f"pack.sequence_length {sequence_length}"
        )
    share = "" if split == "train" else f"; raise curate.{split}"
    raise DataError(f"{TOKENS / split}: has no conversation{share}")


def _plan_training(output: Path, corpus: Sequence[LanguageCorpus], params: Params) -> _Training:
    pack, mixture = params.pack, params.mixture
    parts = divide(corpus, mixture)
    counts = plan_counts(parts, mixture, epochs=pack.epochs, seed=params.seed)
    stream = training_stream(corpus, parts, counts, params.seed)
    if pack.global_batch_unit == "conversations":
        steps = steps_of_conversations(
            stream, capacity=pack.sequence_length, batch=pack.global_batch
        )
    else:
        steps = steps_of_packs(
            stream,
            capacity=pack.sequence_length,
            batch=pack.global_batch // pack.sequence_length,
            seed=params.seed,
        )
    tally = Tally(corpus)
    planned = _planned(output, "train", steps, tally, pack.sequence_length)
    if not planned.figures["steps"]:
        conversations, tokens, _ = tally.left_out.sum(axis=(0, 1)).tolist()
        raise DataError(
            f"{TOKENS / 'train'}: {conversations} conversations with {tokens} tokens over "
            f"pack.epochs {pack.epochs:g} are less than half a step of pack.global_batch "
            f"{pack.global_batch} {pack.global_batch_unit}"
        )
    languages, sources = (
        ledger_rows(corpus, parts, mixture, tally, by_source=by_source)
        for by_source in (False, True)
    )
    return _Training(
        planned=planned,
        languages=languages,
        sources=sources,
        held_back=_held_back(parts, counts, params),
    )


def _plan_held_out(
    output: Path, split: Split, corpus: Sequence[LanguageCorpus], sequence_length: int
) -> _Planned:
    steps = one_step(held_out_stream(corpus), capacity=sequence_length)
    return _planned(output, split, steps, Tally(corpus), sequence_length)


def _planned(
    output: Path, split: Split, steps: Iterable[Step], tally: Tally, sequence_length: int
) -> _Planned:
    written = write_split(output, split, tally.watch(steps))
    return _Planned(
        written=written, figures=tally.figures(written.counts["packs"], sequence_length)
    )


def _held_back(parts: Sequence[Part], counts: Sequence[int], params: Params) -> list[str]:
    """Returns the parts that would be seen more often without ``mixture.max_epochs``."""
    unlimited = params.mixture.model_copy(update={"max_epochs": None})
    wanted = plan_counts(parts, unlimited, epochs=params.pack.epochs, seed=params.seed)
    return [
        part.language if part.source is None else f"{part.language}/{part.source}"
        for part, count, more in zip(parts, counts, wanted, strict=True)
        if count < more
    ]


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
