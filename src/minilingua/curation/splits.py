"""Which split a question belongs to: decided by hashes of what is asked, not by dice or position.

    hash of key     0 ────── test ────── test + validation ──────────────── 1
    split           │  test  │    validation     │          train           │

The hash of a row's ``key`` depends on the row alone, so a new source moves no row. Two rules add to
it: a key under which some row asks about a held-out fact is never trained on, and a language with
few multiple-choice questions has more of them in test (there a row's split depends on the others:
how far test reaches is decided by how many questions the language has).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from minilingua.core.errors import ParamsError
from minilingua.core.records import InstructionExample, Split
from minilingua.core.seeding import unit_hash

_KEY_SALT = "split"
_FACT_SALT = "fact"


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

    def split_of(self, key: str, *, held_out: bool) -> Split:
        """Returns the split of a key.

        Args:
            key: identity of what is asked.
            held_out: it asks about a held-out fact: validation and test divide the whole range
                between them, in proportion.
        """
        place = unit_hash(key, _KEY_SALT)
        if held_out:
            kept_out = self.validation + self.test
            return "test" if place * kept_out < self.test or not self.validation else "validation"
        if place < self.test:
            return "test"
        return "validation" if place < self.test + self.validation else "train"


def assign_splits(
    examples: Iterable[InstructionExample], rule: SplitRule, held_out_keys: Collection[str]
) -> dict[str, Split]:
    """Returns the split of every key of one language.

    Where test got fewer multiple-choice questions than ``minimum_test_mcqa``, and the language has
    at least twice that many, test takes those of train whose hash comes next. Validation is not
    touched, so test stays below the minimum if train has no more to give.

    Args:
        examples: all kept examples of one language.
        rule: the shares.
        held_out_keys: keys under which, in any language, some row asks about a held-out fact.
    """
    is_mcqa: dict[str, bool] = {}
    for example in examples:
        is_mcqa[example.key] = is_mcqa.get(example.key, False) or example.task == "mcqa"
    splits = {key: rule.split_of(key, held_out=key in held_out_keys) for key in is_mcqa}
    questions = [key for key, asks in is_mcqa.items() if asks]
    if len(questions) >= 2 * rule.minimum_test_mcqa:
        missing = rule.minimum_test_mcqa - sum(splits[key] == "test" for key in questions)
        trained = sorted(
            (key for key in questions if splits[key] == "train"),
            key=lambda key: (unit_hash(key, _KEY_SALT), key),
        )
        splits |= dict.fromkeys(trained[: max(missing, 0)], "test")
    return splits
