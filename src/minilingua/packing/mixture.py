"""Which conversations a run sees, how often and in which order.

    shares ─► amounts (max_epochs caps some, the others get the rest) ─► counts ─► orders

Every part cycles through its conversations, reshuffled for each epoch of its own, so that none is
seen for the (k + 1)-th time before all were seen k times. The shares decide how far each part
gets; the parts are then interleaved evenly over the run.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from minilingua.core.seeding import generator
from minilingua.packing.corpus import Ints
from minilingua.packing.parts import Part
from minilingua.params import MixtureParams

Name = TypeVar("Name", bound=Hashable)

_BLOCK = 1 << 16  # places


def plan_counts(
    parts: Sequence[Part], mixture: MixtureParams, *, epochs: float, seed: int
) -> list[int]:
    """Returns how many conversations of each part the run sees, repetitions counted.

    Without weights each language makes ``epochs`` passes. With weights the run is as long as
    ``epochs`` passes over all parts that have one, measured in ``mixture.unit``, and each part gets
    its share: exactly for conversations (largest remainders), to the nearest conversation for
    tokens. No part makes more than ``mixture.max_epochs`` passes: what it would get beyond goes to
    the other sources of its language, then to the other languages, in proportion to their shares.
    If all are at their limit the run is shorter.
    """
    limits = [epoch_limit(part, mixture) for part in parts]
    if mixture.weights is None and mixture.sources is None:
        wanted = [math.floor(epochs * len(part) + 0.5) for part in parts]
    else:
        wanted = _by_shares(parts, mixture, epochs, seed)
    return [int(min(count, limit)) for count, limit in zip(wanted, limits, strict=True)]


def epoch_limit(part: Part, mixture: MixtureParams) -> float:
    """Returns how many conversations of a part a run may see at most."""
    if mixture.max_epochs is None:
        return math.inf
    return math.floor(mixture.max_epochs * len(part) + 1e-9)


class Order:
    """An endless run of reshuffled epochs of a part, drawn as far as it is asked for."""

    def __init__(self, part: Part, seed: int) -> None:
        """Takes a part; its order depends on nothing but the part and the seed."""
        self._part, self._seed = part, seed
        self._epoch = 0
        self._ready: Ints = np.zeros(0, dtype=np.int32)

    def take(self, count: int) -> Ints:
        """Returns the next ``count`` elements, indices into the language's corpus."""
        taken: list[Ints] = []
        while count > len(self._ready):
            taken.append(self._ready)
            count -= len(self._ready)
            self._ready = self._part.members[_shuffled(self._part, self._epoch, self._seed)]
            self._epoch += 1
        taken.append(self._ready[:count])
        self._ready = self._ready[count:]
        return np.concatenate(taken)


def fill(
    total: float, shares: Mapping[Name, float], caps: Mapping[Name, float]
) -> dict[Name, float]:
    """Splits ``total`` in proportion to ``shares``, none above its cap.

    What a capped one leaves goes to the others in their proportions; if all are capped, the parts
    sum to less than ``total``.
    """
    filled = dict.fromkeys(shares, 0.0)
    growing = {name: share for name, share in shares.items() if share > 0}
    while growing:
        whole = math.fsum(growing.values())
        full = [name for name, share in growing.items() if total * share / whole > caps[name]]
        if not full:
            return filled | {name: total * share / whole for name, share in growing.items()}
        for name in full:
            filled[name] = caps[name]
            total -= caps[name]
            del growing[name]
    return filled


def largest_remainders(exact: Mapping[Name, float]) -> dict[Name, int]:
    """Rounds amounts to whole numbers of about the same sum: each within one of its amount."""
    counts = {name: math.floor(amount) for name, amount in exact.items()}
    total = math.floor(math.fsum(exact.values()) + 0.5)
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])  # stable
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def interleave(lengths: Sequence[int], seed: int) -> Iterator[Ints]:
    """Spreads several sequences evenly over one, which comes in blocks.

    The k-th of n elements gets a random place in the k-th of n equal parts of the run, so that
    every stretch of the run holds about the shares of the whole. The elements of each sequence stay
    in their order.

    Args:
        lengths: how many elements each sequence has.
        seed: of the random places.

    Yields:
        For each place in the run, in their order, which sequence its element is of.
    """
    blocks = -(-sum(lengths) // _BLOCK)
    draws = [generator(seed, "pack", "interleave", number) for number in range(len(lengths))]
    drawn = [0] * len(lengths)
    sequences, places = np.zeros(0, dtype=np.int32), np.zeros(0)
    for block in range(1, blocks + 1):
        for number, length in enumerate(lengths):
            upto = -(-length * block // blocks)
            fresh = draws[number].random(upto - drawn[number])
            fresh = (np.arange(drawn[number], upto) + fresh) / max(length, 1)
            places = np.concatenate([places, fresh])
            sequences = np.concatenate([sequences, np.full(len(fresh), number, dtype=np.int32)])
            drawn[number] = upto
        by_place = np.lexsort((sequences, places))
        places, sequences = places[by_place], sequences[by_place]
        # What is still to be drawn lies behind the end of the block.
        end = len(places) if block == blocks else np.searchsorted(places, block / blocks)
        yield sequences[:end]
        places, sequences = places[end:], sequences[end:]


def _by_shares(
    parts: Sequence[Part], mixture: MixtureParams, epochs: float, seed: int
) -> list[int]:
    exact = mixture.unit == "conversations"
    total = epochs * sum(int(part.amounts.sum()) for part in parts if part.share > 0)
    caps = [
        epoch_limit(part, mixture)
        if exact
        else (mixture.max_epochs or math.inf) * float(part.amounts.sum())
        for part in parts
    ]
    languages = {part.language: 0.0 for part in parts}
    language_caps = dict(languages)
    for part, cap in zip(parts, caps, strict=True):
        languages[part.language] += part.share
        language_caps[part.language] += cap
    by_language: Mapping[str, float] = fill(
        math.floor(total + 0.5) if exact else total, languages, language_caps
    )
    if exact:
        by_language = largest_remainders(by_language)
    counts = [0] * len(parts)
    for language, amount in by_language.items():
        numbers = [number for number, part in enumerate(parts) if part.language == language]
        targets = fill(
            amount,
            {number: parts[number].share for number in numbers},
            {number: caps[number] for number in numbers},
        )
        if exact:
            targets = {**largest_remainders(targets)}
        for number, target in targets.items():
            counts[number] = int(target) if exact else _count_for(parts[number], target, seed)
    return counts


def _shuffled(part: Part, epoch: int, seed: int) -> Ints:
    names = (part.language,) if part.source is None else (part.language, part.source)
    return generator(seed, "pack", "epoch", *names, epoch).permutation(len(part))


def _count_for(part: Part, target: float, seed: int) -> int:
    """Returns after how many conversations the sum of amounts is nearest to ``target``."""
    if not len(part):
        return 0
    passes, rest = divmod(target, float(part.amounts.sum()))
    sums = np.concatenate([[0], np.cumsum(part.amounts[_shuffled(part, int(passes), seed)])])
    return int(passes) * len(part) + int(np.argmin(np.abs(sums - rest)))
