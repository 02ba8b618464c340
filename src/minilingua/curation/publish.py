"""Second pass: one task a language, over the records of the spool, in any number of processes.

spool, exact duplicates ─► near duplicates ─► splits ─► evaluation items in training rows
                                                 └────► <split>/<language>.jsonl, shuffled
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from minilingua.core.records import SPLITS, Contamination
from minilingua.core.rejects import Reject, excerpt
from minilingua.core.seeding import generator
from minilingua.curation.contamination import Hit, Item, ItemIndex
from minilingua.curation.duplicates import HELD_OUT_REASON, REASON, Copies, precedence
from minilingua.curation.ledger import Ledger
from minilingua.curation.near_duplicates import REASON as NEAR_REASON
from minilingua.curation.near_duplicates import find_near_copies
from minilingua.curation.rows import TASKS, Flags, Hashes, Indices, Spool
from minilingua.curation.splits import TRAIN, SplitRule, Splits, fill_test

_FINDING = tuple(field.name for field in fields(Contamination))

BENCHMARK_REASON = "benchmark_overlap"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishTask:
    """One language."""

    language: str
    spool: Path
    output: Path
    sources: tuple[str, ...]
    """Names behind ``ROW``'s source."""
    rule: SplitRule
    held_out: Hashes
    """Places of the keys that are never trained on."""
    copies: Copies
    copied_languages: tuple[str, ...]
    """Names behind the languages of ``copies``."""
    near_duplicates: float | None
    benchmarks: Path | None
    """File of ``save_items``."""
    seed: int


@dataclass(slots=True, kw_only=True)
class _Work:
    """A language on its way."""

    task: PublishTask
    spool: Spool
    dropped: Flags
    """Shape [rows]."""
    ledger: Ledger

    def drop(self, index: int, reason: str, found: str) -> None:
        """Drops a row, counts it and offers it to the sample."""
        row = self.spool.rows[index]
        source = self.task.sources[row["source"]]
        self.dropped[index] = True
        self.ledger.manifest.drop(reason, source, self.task.language)

        def make() -> Reject:
            messages = orjson.loads(self.spool.line(index))["messages"]
            return Reject(
                reason=reason,
                source=source,
                language=self.task.language,
                row=self.spool.where(index),
                found=found,
                prompt=excerpt(messages[0]["content"]),
                answer=excerpt(messages[-1]["content"]),
            )

        self.ledger.manifest.rejects.offer(reason, source, int(row["order"]), make)


def base_splits(rule: SplitRule, held_out: Hashes, places: Hashes) -> Splits:
    """Returns the splits of keys as their hashes and held-out facts decide them."""
    return rule.by_place(places, np.isin(places, held_out))


def publish(task: PublishTask) -> Ledger:
    """Writes the three files of a language, and into the spool which items it trains on."""
    with Spool.open(task.spool, task.language) as spool:
        work = _Work(
            task=task,
            spool=spool,
            dropped=np.zeros(len(spool.rows), dtype=np.bool_),
            ledger=Ledger(),
        )
        splits = base_splits(task.rule, task.held_out, spool.rows["place"])
        _drop_copies(work)
        _drop_near_copies(work, splits)
        splits = _fill_test(work, splits)
        _drop_asked_again(work, splits)
        _drop_contaminated(work, splits)
        _write(work, splits)
    return work.ledger


def _drop_copies(work: _Work) -> None:
    copies = work.task.copies
    by_language: dict[int, Spool] = {}
    for row, language, kept, held in zip(
        copies.rows, copies.language, copies.kept, copies.from_training, strict=True
    ):
        number = int(language)
        if number not in by_language:
            name = work.task.copied_languages[number]
            by_language[number] = (
                work.spool if name == work.task.language else Spool.open(work.task.spool, name)
            )
        found = f"as {by_language[number].where(int(kept))}"
        work.drop(int(row), HELD_OUT_REASON if held else REASON, found)
    for spool in by_language.values():
        if spool is not work.spool:
            spool.close()


def _drop_near_copies(work: _Work, splits: Splits) -> None:
    if work.task.near_duplicates is None:
        return
    rows = work.spool.rows
    order = np.lexsort((rows["order"], rows["id"], precedence(rows, splits)))
    found = find_near_copies(work.spool, order, ~work.dropped, work.task.near_duplicates)
    for copy in found:
        is_held = splits[copy.row] == TRAIN and splits[copy.kept] != TRAIN
        work.drop(
            copy.row,
            HELD_OUT_REASON if is_held else NEAR_REASON,
            f"{copy.similarity:.2f} as {work.spool.where(copy.kept)}",
        )


def _fill_test(work: _Work, splits: Splits) -> Splits:
    kept = ~work.dropped
    rows = work.spool.rows
    filled = splits.copy()
    filled[kept] = fill_test(
        splits[kept],
        rows["place"][kept],
        rows["task"][kept] == TASKS.index("mcqa"),
        work.task.rule.minimum_test_mcqa,
    )
    return filled


def _drop_asked_again(work: _Work, splits: Splits) -> None:
    """Drops training rows whose prompt is a held-out one's in other case or white space.

    Their keys differ, and so may their answers. What a multiple-choice question asks depends on its
    options: it is left to the comparison of questions with their answers.
    """
    rows = work.spool.rows
    here = ~work.dropped & (rows["task"] != TASKS.index("mcqa"))
    held = np.flatnonzero(here & (splits != TRAIN))
    held = held[np.argsort(rows["order"][held])]
    asked, first = np.unique(rows["asked"][held], return_index=True)
    for row in np.flatnonzero(here & (splits == TRAIN) & np.isin(rows["asked"], asked)):
        kept = held[first[np.searchsorted(asked, rows["asked"][row])]]
        work.drop(int(row), HELD_OUT_REASON, f"asks as {work.spool.where(int(kept))}")


def findings_of(spool: Path, language: str) -> Path:
    """Returns the file of the evaluation items that were found in a language's training rows."""
    return spool / f"{language}.findings"


def _drop_contaminated(work: _Work, splits: Splits) -> None:
    """Drops what repeats a held-out row or overlaps a benchmark, and reports all that is found."""
    trained = (splits == TRAIN) & ~work.dropped
    found: list[tuple[Hit, Item]] = []
    for index in (ItemIndex(_held_out_items(work, splits)), _benchmarks(work.task.benchmarks)):
        for hit in index.search(work.spool, trained):
            item = index.items[hit.item]
            found.append((hit, item))
            is_ours = item.key is not None
            if not work.dropped[hit.row] and (hit.is_whole or not is_ours):
                reason = HELD_OUT_REASON if is_ours else BENCHMARK_REASON
                work.drop(hit.row, reason, f"{item.set} {item.name}: {hit.words}")
    report = [_report(work, hit, item) for hit, item in found]
    report.sort(key=lambda one: (one.set, one.item, one.source, one.row))
    with findings_of(work.task.spool, work.task.language).open("wb") as stream:
        for one in report:
            work.ledger.count(one)
            stream.write(finding_line(one))


def finding_line(found: Contamination) -> bytes:
    """Returns a line of contamination.jsonl: as ``dump_record`` writes it, ten times as fast."""
    row = {name: getattr(found, name) for name in _FINDING}
    return orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


def _held_out_items(work: _Work, splits: Splits) -> list[Item]:
    spool = work.spool
    held = np.flatnonzero((splits != TRAIN) & ~work.dropped)
    return [
        Item(
            set=SPLITS[splits[index]],
            name=f"{int(spool.rows['id'][index]):016x}",
            key=orjson.loads(spool.line(int(index)))["key"],
            words=spool.words(int(index)),
            pair=int(spool.rows["pair"][index]),
        )
        for index in held[np.lexsort((spool.rows["id"][held], -splits[held]))]
    ]


def _report(work: _Work, hit: Hit, item: Item) -> Contamination:
    row = work.spool.rows[hit.row]
    return Contamination(
        set=item.set,
        item=item.name,
        key=item.key,
        source=work.task.sources[row["source"]],
        language=work.task.language,
        row=work.spool.where(hit.row),
        id=f"{int(row['id']):016x}",
        words=hit.words,
        is_whole=hit.is_whole,
        is_dropped=bool(work.dropped[hit.row]),
    )


def _write(work: _Work, splits: Splits) -> None:
    task, rows = work.task, work.spool.rows
    for number, split in enumerate(SPLITS):
        indices: Indices = np.flatnonzero((splits == number) & ~work.dropped)
        indices = indices[np.argsort(rows["id"][indices])]
        order = generator(task.seed, "curate", split, task.language).permutation(len(indices))
        path = task.output / split / f"{task.language}.jsonl"
        path.parent.mkdir(exist_ok=True)
        with path.open("wb") as stream:
            stream.writelines(work.spool.lines(indices[order]))
        _count(work, indices, number)


def _count(work: _Work, indices: Indices, split: int) -> None:
    task, rows = work.task, work.spool.rows
    tally = _tally(rows["source"][indices], rows["task"][indices])
    for source, kind, count in zip(*tally, strict=True):
        work.ledger.manifest.keep(task.sources[source], task.language, int(count))
        work.ledger.written[SPLITS[split], task.language, TASKS[kind]] += int(count)


def _tally(sources: Any, kinds: Any) -> tuple[Any, Any, Any]:
    pairs, counts = np.unique(sources.astype(np.int64) * len(TASKS) + kinds, return_counts=True)
    return pairs // len(TASKS), pairs % len(TASKS), counts


def save_items(path: Path, items: Sequence[Item]) -> None:
    """Writes benchmark items for the tasks: read once, whatever the number of languages."""
    lines = (orjson.dumps([item.set, item.name, item.words.decode(), item.pair]) for item in items)
    path.write_bytes(b"".join(b"%b\n" % line for line in lines))


@cache
def _benchmarks(path: Path | None) -> ItemIndex:
    """Returns the items of ``save_items``, once a process; none without a path."""
    if path is None:
        return ItemIndex([])
    with path.open("rb") as stream:
        return ItemIndex(
            [
                Item(set=name, name=item, key=None, words=text.encode(), pair=pair)
                for name, item, text, pair in map(orjson.loads, stream)
            ]
        )
