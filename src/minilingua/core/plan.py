"""The pack plan: which conversations are trained on, in which packs, at which step. Index only.

    step ─► packs ─► conversations ─► (language, row in the token file)

    plan.json                       counts, sequence length, languages, digests of the token files
    <split>/conversations.bin       uint64 [n]: language index << 40 | row, in the order of training
    <split>/pack_offsets.bin        uint64 [packs + 1]: pack p is conversations[po[p]:po[p + 1]]
    <split>/step_offsets.bin        uint64 [steps + 1]: step s is packs so[s]:so[s + 1]

``train`` holds every step of the run, epochs unrolled. ``validation`` and ``test`` hold one pass,
each pack of one language, one step in all. The plan knows nothing of data-parallel size or micro
batch: rank r of d takes packs r, r + d, .. of each step.
"""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minilingua.core.errors import DataError
from minilingua.core.files import read_json, require, sha256_file, write_json
from minilingua.core.languages import LANGUAGE_INDEX, LANGUAGES
from minilingua.core.records import Split

FORMAT_VERSION = 2
_ROW_BITS = 40
_CODES = tuple(LANGUAGES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationRef:
    """Where one conversation's tokens stand."""

    language: str
    row: int
    """Index into the language's token file of the plan's split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPlan:
    """The schedule of one split."""

    conversations: npt.NDArray[np.uint64]
    """[n] language index << 40 | row."""
    pack_offsets: npt.NDArray[np.uint64]
    """[packs + 1] into ``conversations``."""
    step_offsets: npt.NDArray[np.uint64]
    """[steps + 1] into packs."""

    @property
    def steps(self) -> int:
        """Number of optimizer steps."""
        return len(self.step_offsets) - 1

    @property
    def packs(self) -> int:
        """Number of packs over all steps."""
        return len(self.pack_offsets) - 1

    def language_indices(self) -> npt.NDArray[np.int64]:
        """Returns [n] the language index of each conversation."""
        return (self.conversations >> np.uint64(_ROW_BITS)).astype(np.int64)

    def rows(self) -> npt.NDArray[np.int64]:
        """Returns [n] the row in its language's token file of each conversation."""
        return (self.conversations & np.uint64((1 << _ROW_BITS) - 1)).astype(np.int64)

    def packs_of_step(self, step: int) -> range:
        """Returns the pack numbers of a step, 0-based."""
        return range(int(self.step_offsets[step]), int(self.step_offsets[step + 1]))

    def pack(self, number: int) -> list[ConversationRef]:
        """Returns the conversations of a pack, in their order."""
        return [unpack_ref(int(value)) for value in self.conversations[_bounds(self, number)]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackPlan:
    """A complete plan."""

    sequence_length: int
    """Largest number of tokens in a pack."""
    splits: dict[Split, SplitPlan]
    meta: dict[str, Any]
    """plan.json as it is on disk."""


def pack_ref(language: str, row: int) -> int:
    """Returns a reference as one number."""
    return LANGUAGE_INDEX[language] << _ROW_BITS | row


def unpack_ref(value: int) -> ConversationRef:
    """Returns the reference that ``pack_ref`` made a number of."""
    return ConversationRef(language=_CODES[value >> _ROW_BITS], row=value & ((1 << _ROW_BITS) - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenSplit:
    """What plan.json tells of the files of one split."""

    counts: dict[str, int]
    digests: dict[str, str]
    """Name of the file ─► its SHA-256."""


def write_split(
    path: Path, split: Split, steps: Iterable[Iterable[npt.NDArray[np.uint64]]]
) -> WrittenSplit:
    """Writes one split's files as its steps come.

    Args:
        path: an existing directory (stage it with ``staged_directory``).
        split: its name.
        steps: each with its packs; a pack is the references of its conversations.
    """
    directory = path / split
    directory.mkdir(parents=True, exist_ok=True)
    pack_offsets, step_offsets = array("Q", [0]), array("Q", [0])
    with (directory / "conversations.bin").open("wb") as stream:
        for packs in steps:
            for pack in packs:
                stream.write(pack.astype("<u8").tobytes())
                pack_offsets.append(pack_offsets[-1] + len(pack))
            step_offsets.append(len(pack_offsets) - 1)
    for name, offsets in (("pack_offsets", pack_offsets), ("step_offsets", step_offsets)):
        (directory / f"{name}.bin").write_bytes(np.asarray(offsets).astype("<u8").tobytes())
    return WrittenSplit(
        counts={
            "conversations": pack_offsets[-1],
            "packs": len(pack_offsets) - 1,
            "steps": len(step_offsets) - 1,
        },
        digests={
            f"{split}/{name}": sha256_file(directory / f"{name}.bin")
            for name in ("conversations", "pack_offsets", "step_offsets")
        },
    )


def write_meta(
    path: Path, sequence_length: int, splits: Mapping[Split, WrittenSplit], meta: Mapping[str, Any]
) -> None:
    """Writes plan.json, which makes a plan of the splits that are written."""
    write_json(
        path / "plan.json",
        {
            **meta,
            "format_version": FORMAT_VERSION,
            "sequence_length": sequence_length,
            "languages": list(_CODES),
            "splits": {split: written.counts for split, written in splits.items()},
            "sha256": {
                name: digest
                for written in splits.values()
                for name, digest in written.digests.items()
            },
        },
    )


def write_plan(path: Path, plan: PackPlan) -> None:
    """Writes a plan that is in memory."""
    splits = {
        split: write_split(
            path,
            split,
            (
                [schedule.conversations[_bounds(schedule, pack)] for pack in packs]
                for packs in map(schedule.packs_of_step, range(schedule.steps))
            ),
        )
        for split, schedule in plan.splits.items()
    }
    write_meta(path, plan.sequence_length, splits, plan.meta)


def _bounds(schedule: SplitPlan, pack: int) -> slice:
    return slice(int(schedule.pack_offsets[pack]), int(schedule.pack_offsets[pack + 1]))


def read_plan(path: Path) -> PackPlan:
    """Reads a plan and checks that its files are those that were written.

    Raises:
        MissingInputError: a file is missing.
        DataError: a file is truncated, changed or of another version.
    """
    meta_path = path / "plan.json"
    meta = read_json(meta_path, made_by="minilingua pack")
    if meta.get("format_version") != FORMAT_VERSION or meta.get("languages") != list(_CODES):
        raise DataError(f"{meta_path} is of another version; run `dvc repro pack`")
    splits: dict[Split, SplitPlan] = {}
    for split, counts in meta["splits"].items():

        def array(name: str, length: int, split: str = split) -> npt.NDArray[np.uint64]:
            file = require(path / split / f"{name}.bin", made_by="minilingua pack")
            found = file.stat().st_size
            if found != 8 * length:
                raise DataError(
                    f"{file} has {found} bytes where plan.json implies {8 * length}: it is "
                    "truncated or changed; `dvc checkout` restores it"
                )
            if sha256_file(file) != meta["sha256"][f"{split}/{name}"]:
                raise DataError(
                    f"{file} has changed since it was written; `dvc checkout` restores it"
                )
            return np.fromfile(file, dtype="<u8")

        splits[split] = SplitPlan(
            conversations=array("conversations", counts["conversations"]),
            pack_offsets=array("pack_offsets", counts["packs"] + 1),
            step_offsets=array("step_offsets", counts["steps"] + 1),
        )
    return PackPlan(sequence_length=int(meta["sequence_length"]), splits=splits, meta=meta)
