"""Micro batches from a pack plan and memory-mapped token files.

    plan: step ─► packs ─► this rank's packs (r, r + d, ..) ─► micro_batch of them joined
                                                                 │
    tokens, loss mask ─► conversations, shifted inside each ─────┘

Labels are shifted here, once, inside each conversation: row i predicts token i + 1 of the same
conversation, so no target crosses from one document into another. A conversation is cut after
its last target row; what follows (at least its last token) predicts nothing.

Shape legend: t tokens of the micro batch, r target rows (supervised tokens); where context-parallel
ranks share the conversations, those of this rank.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from minilingua.core.errors import DataError
from minilingua.core.languages import LANGUAGE_INDEX
from minilingua.core.plan import PackPlan, SplitPlan, unpack_ref
from minilingua.core.records import Split
from minilingua.core.seeding import content_id
from minilingua.megatron_model.context import ALONE, ContextShare, to_device
from minilingua.megatron_model.documents import PackedDocuments, pack_documents
from minilingua.training.flops import StepWork
from minilingua.training.inputs import TOKENS
from minilingua.training.language_rows import LanguageRows, open_language_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """What one forward call gets."""

    tokens: Tensor
    """[1, t] int64."""
    labels: Tensor
    """[1, r] int64, the token that each target row predicts."""
    documents: PackedDocuments
    """Where the conversations begin, and the target rows."""
    language_of_row: npt.NDArray[np.int64]
    """[r] language index of each target row."""
    conversation_of_row: npt.NDArray[np.int64]
    """[r] index into the plan's conversations of each target row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepContents:
    """What one step of the plan holds, over all ranks."""

    tokens: int
    """Prompts included."""
    supervised_tokens: int
    conversations: int
    packs_without_targets: int
    """Packs that have no supervised token: they cost time and teach nothing."""
    sample_digest: str
    """``content_id`` over the conversation ids, in their order."""
    work: StepWork
    """What its operations are counted from: the rows that the model sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTotals:
    """Tokens of a whole plan."""

    tokens: int
    supervised_tokens: int
    conversations_without_targets: int
    """Each counted once, whatever the epochs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSplit:
    """A split's plan together with the tokens that it refers to."""

    plan: SplitPlan
    languages: dict[str, LanguageRows]
    with_slots: bool
    """Micro batches are prepared for attention backend ``sdpa``."""
    multiple: int = 1
    """Micro batches are filled up to a multiple of this many tokens, so that sequence parallelism
    can cut them and 8-bit kernels take them. The filling is a document of its own that predicts
    nothing."""
    share: ContextShare = ALONE
    """This rank's share of each conversation, which is filled up so that it can be cut."""
    device: torch.device | None = None

    def contents(self, step: int) -> StepContents:
        """Counts a step (0-based)."""
        tokens = supervised = without = rows = squares = 0
        ids: list[str] = []
        for number in self.plan.packs_of_step(step):
            before = supervised
            for ref in self.plan.pack(number):
                language = self.languages[ref.language]
                offsets = language.file.offsets
                tokens += int(offsets[ref.row + 1]) - int(offsets[ref.row])
                supervised += int(language.supervised[ref.row])
                length = int(language.rows_needed[ref.row])
                rows += length
                squares += length * length
                ids.append(f"{int(language.file.ids[ref.row]):016x}")
            without += supervised == before
        return StepContents(
            tokens=tokens,
            supervised_tokens=supervised,
            conversations=len(ids),
            packs_without_targets=without,
            sample_digest=content_id("".join(ids)),
            work=StepWork(tokens=rows, targets=supervised, squared_lengths=squares),
        )

    def pack_rows(self, *, targets: bool = False) -> npt.NDArray[np.int64]:
        """Returns [packs] how many rows of the model each pack takes, or how many are targets."""
        plan = self.plan
        rows = np.zeros(len(plan.conversations), dtype=np.int64)
        languages = plan.language_indices()
        for code, language in self.languages.items():
            mine = np.flatnonzero(languages == LANGUAGE_INDEX[code])
            counts = language.supervised if targets else language.rows_needed
            rows[mine] = counts[plan.rows()[mine]]
        bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows)])
        return np.diff(bounds[plan.pack_offsets.astype(np.int64)])

    def check_targets(self, split: Split) -> None:
        """Checks that every step has something to learn from, before any is trained.

        Raises:
            DataError: no token of a step is supervised.
        """
        targets = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.pack_rows(targets=True))])
        empty = np.flatnonzero(np.diff(targets[self.plan.step_offsets.astype(np.int64)]) == 0)
        if len(empty):
            raise DataError(f"data/plan: step {empty[0] + 1} of {split} has no supervised token")

    def totals(self) -> TokenTotals:
        """Counts the whole plan, every epoch of it."""
        tokens = supervised = without = 0
        indices, counts = np.unique(self.plan.conversations, return_counts=True)
        for value, count in zip(indices, counts, strict=True):
            ref = unpack_ref(int(value))
            language = self.languages[ref.language]
            offsets = language.file.offsets
            tokens += int(count) * (int(offsets[ref.row + 1]) - int(offsets[ref.row]))
            supervised += int(count) * int(language.supervised[ref.row])
            without += int(language.supervised[ref.row]) == 0
        return TokenTotals(
            tokens=tokens, supervised_tokens=supervised, conversations_without_targets=without
        )

    def micro_batches(
        self, step: int, *, rank: int, ranks: int, packs_joined: int
    ) -> Iterator[MicroBatch]:
        """Yields a rank's micro batches of a step: as many on every rank.

        Those of a rank that has fewer packs predict nothing: all have to meet in the same calls.

        Args:
            step: 0-based step of the plan.
            rank: data-parallel rank of this process.
            ranks: number of data-parallel ranks.
            packs_joined: packs in one micro batch.
        """
        mine = list(self.plan.packs_of_step(step))[rank::ranks]
        number = self.number_of_micro_batches(step, ranks=ranks, packs_joined=packs_joined)
        for begin in range(0, number * packs_joined, packs_joined):
            yield self._join(mine[begin : begin + packs_joined])

    def number_of_micro_batches(self, step: int, *, ranks: int, packs_joined: int) -> int:
        """Returns how many ``micro_batches`` yields."""
        most = len(self.plan.packs_of_step(step)[::ranks])
        return -(-most // packs_joined)

    def _join(self, packs: list[int]) -> MicroBatch:
        unit = self.share.multiple
        lengths: list[int] = []
        tokens: list[npt.NDArray[Any]] = []
        labels: list[npt.NDArray[Any]] = []
        rows: list[npt.NDArray[np.int64]] = []
        languages: list[npt.NDArray[np.int64]] = []
        conversations: list[npt.NDArray[np.int64]] = []
        begin = 0
        for number in packs:
            first_of_pack = int(self.plan.pack_offsets[number])
            for index, ref in enumerate(self.plan.pack(number), start=first_of_pack):
                language = self.languages[ref.language]
                length = int(language.rows_needed[ref.row])
                if length == 0:
                    continue
                first = int(language.file.offsets[ref.row])
                targets = np.flatnonzero(language.loss_mask[first + 1 : first + 1 + length])
                missing = -length % unit
                tokens += [language.tokens[first : first + length], np.zeros(missing, np.int64)]
                lengths.append(length + missing)
                labels.append(language.tokens[first + 1 : first + 1 + length][targets])
                rows.append(targets + begin)
                languages.append(np.full(len(targets), LANGUAGE_INDEX[ref.language]))
                conversations.append(np.full(len(targets), index))
                begin += length + missing
        if not tokens:  # one token that predicts nothing: a loss and gradients of exactly zero
            tokens.append(np.zeros(unit, np.int64))
            lengths.append(unit)
            labels, rows, languages, conversations = ([np.zeros(0, np.int64)] for _ in range(4))
        if missing := -sum(lengths) % math.lcm(unit, self.multiple * self.share.ranks):
            tokens.append(np.zeros(missing, np.int64))
            lengths.append(missing)
        own, targets = self.share.take(lengths, np.concatenate(rows))
        mine = targets >= 0
        return MicroBatch(
            tokens=self._tensor(np.concatenate(tokens)[own]),
            labels=self._tensor(np.concatenate(labels)[mine]),
            documents=pack_documents(
                lengths,
                target_rows=targets[mine],
                with_slots=self.with_slots,
                share=self.share,
                device=self.device,
            ),
            language_of_row=np.concatenate(languages)[mine],
            conversation_of_row=np.concatenate(conversations)[mine],
        )

    def _tensor(self, values: npt.NDArray[Any]) -> Tensor:
        return to_device(values.astype(np.int64), self.device).unsqueeze(0)


def open_split(
    plan: PackPlan,
    split: Split,
    *,
    vocab_size: int,
    with_slots: bool,
    multiple: int = 1,
    share: ContextShare = ALONE,
    device: torch.device | None = None,
    tokens: Path = TOKENS,
) -> PlannedSplit:
    """Opens the token files that a split's plan refers to (``inputs`` has checked the rest).

    Raises:
        MissingInputError: a token file is missing.
        DataError: the plan refers to conversations that are not there, or a token lies outside the
            vocabulary.
    """
    schedule = plan.splits[split]
    needed = _rows_by_language(schedule)
    opened = {
        code: open_language_rows(tokens / split / code, rows, vocab_size)
        for code, rows in needed.items()
    }
    return PlannedSplit(
        plan=schedule,
        languages=opened,
        with_slots=with_slots,
        multiple=multiple,
        share=share,
        device=device,
    )


def _rows_by_language(schedule: SplitPlan) -> dict[str, int]:
    """Returns the highest row that the plan asks of each language."""
    highest: dict[str, int] = {}
    for value in np.unique(schedule.conversations):
        ref = unpack_ref(int(value))
        highest[ref.language] = max(ref.row, highest.get(ref.language, 0))
    return highest
