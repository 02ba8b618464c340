"""What a schedule holds, counted while its steps go by on their way to the plan."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minilingua.packing.corpus import LanguageCorpus
from minilingua.packing.schedule import Step
from minilingua.packing.stream import CONVERSATION

UNITS = ("conversations", "tokens", "supervised_tokens")
"""What is counted; the units of a mixture."""

Counts = npt.NDArray[np.int64]
"""[languages, sources, units], numbered as in the corpus."""


class Tally:
    """Counts of one split."""

    scheduled: Counts
    """Repetitions counted."""
    left_out: Counts
    """Of a last step that held less than half of a batch."""

    def __init__(self, corpus: Sequence[LanguageCorpus]) -> None:
        """Begins at zero."""
        sources = max(len(item.source_names) for item in corpus)
        self.scheduled = np.zeros((len(corpus), sources, len(UNITS)), dtype=np.int64)
        self.left_out = np.zeros_like(self.scheduled)
        self._per_step = [array("q") for _ in UNITS]

    def watch(self, steps: Iterable[Step]) -> Iterator[list[npt.NDArray[np.uint64]]]:
        """Counts each step; yields the references of the packs of those that are trained."""
        for step in steps:
            held = np.concatenate([np.zeros(0, dtype=CONVERSATION), *step.packs])
            amounts = np.stack([np.ones_like(held["length"]), held["length"], held["supervised"]])
            into = self.left_out if step.is_left_out else self.scheduled
            np.add.at(into, (held["language"], held["source"]), amounts.T)
            if step.is_left_out:
                continue
            for sums, amount in zip(self._per_step, amounts, strict=True):
                sums.append(int(amount.sum()))
            yield [pack["ref"] for pack in step.packs]

    def figures(self, packs: int, sequence_length: int) -> dict[str, Any]:
        """Returns the split's entry in plan.json, given how many packs of which length it has."""
        conversations, tokens, _ = self.scheduled.sum(axis=(0, 1)).tolist()
        return {
            "conversations": conversations,
            "packs": packs,
            "steps": len(self._per_step[0]),
            "tokens": tokens,
            "fill": round(tokens / max(packs * sequence_length, 1), 6),
            "dropped_last_step": int(self.left_out[..., 0].sum()),
            **{
                f"{unit}_per_step": _spread(sums)
                for unit, sums in zip(UNITS, self._per_step, strict=True)
            },
        }


def _spread(sums: Sequence[int]) -> dict[str, float]:
    mean = float(np.mean(sums)) if sums else 0.0
    return {"mean": round(mean, 3), "min": min(sums, default=0), "max": max(sums, default=0)}
