"""Which split a question belongs to: decided by hashes of what is asked, not by dice or position.

    hash of key     0 ────── test ────── test + validation ──────────────── 1
    split           │  test  │    validation     │          train           │

The hash of a row's ``key`` (its *place*) depends on the row alone, so a new source moves no row.
Two rules add to it: a key under which some row asks about a held-out fact is never trained on, and
a language with few multiple-choice questions has more of them in test (there a row's split depends
on the others: how far test reaches is decided by how many questions the language has).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from minilingua.core.errors import ParamsError
from minilingua.core.records import SPLITS
from minilingua.core.seeding import hash64, unit_hash
from minilingua.curation.rows import Flags, Hashes

_KEY_SALT = "split"
_FACT_SALT = "fact"

Splits = npt.NDArray[np.int8]
"""Indices in ``SPLITS``."""

TRAIN, VALIDATION, TEST = range(len(SPLITS))


def place_of(key: str) -> int:
    """Returns the hash that decides the split of a key, in [0, 2**64)."""
    return hash64(key, _KEY_SALT)


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRule:
    """The shares of params.yaml, section curate.

    Raises:
        ParamsError: facts are to be held out, but no split may hold them.
    """

    validation: float
    test: float
    unseen_facts: float
    minimum_test_mcqa: int

    def __post_init__(self) -> None:
        if self.unseen_facts > 0 and self.validation + self.test == 0:
            raise ParamsError(
                "curate.unseen_facts holds facts out, but curate.validation and curate.test are "
                "both 0: there is no split for them"
            )

    def holds_out(self, fact: str | None) -> bool:
        """Tells whether no wording of a fact may be trained on, in any language."""
        return fact is not None and unit_hash(fact, _FACT_SALT) < self.unseen_facts

    def by_place(self, places: Hashes, held_out: Flags) -> Splits:
        """Returns the splits of keys.

        Args:
            places: ``place_of`` each key, of any shape.
            held_out: whether a key asks about a held-out fact: validation and test divide the whole
                range between them, in proportion; same shape.
        """
        share = places.astype(np.float64) / 2**64
        kept_out = share * (self.validation + self.test)
        split = np.where(share < self.test + self.validation, VALIDATION, TRAIN)
        split[share < self.test] = TEST
        never_trained = TEST if not self.validation else np.where(kept_out < self.test, 2, 1)
        return np.where(held_out, never_trained, split).astype(np.int8)


def fill_test(splits: Splits, places: Hashes, is_question: Flags, minimum: int) -> Splits:
    """Returns the splits of one language's rows after test got its minimum of questions.

    Where test has fewer multiple-choice questions than ``minimum``, and the language at least twice
    that many, test takes those of train whose hash comes next. Validation is not touched, so test
    stays below the minimum if train has no more to give.

    Args:
        splits: ``SplitRule.by_place``, shape [rows].
        places: of the rows' keys; rows of one key stay together; shape [rows].
        is_question: whether the row is a multiple-choice question, shape [rows].
        minimum: questions (keys) in test.
    """
    asked, first = np.unique(places[is_question], return_index=True)
    split_of = splits[is_question][first]
    missing = minimum - int((split_of == TEST).sum())
    if len(asked) < 2 * minimum or missing <= 0:
        return splits
    moved = asked[split_of == TRAIN][:missing]  # unique sorts: the lowest hashes come first
    return np.where(np.isin(places, moved), np.int8(TEST), splits)
