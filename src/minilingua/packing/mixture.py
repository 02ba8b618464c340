"""Which conversations a run sees, how often and in which order.

Every language cycles through its conversations, reshuffled for each epoch of its own, so that none
is seen for the (k + 1)-th time before all were seen k times. The weights decide how far each
language gets; the languages are then interleaved evenly over the run.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from minilingua.core.errors import ParamsError
from minilingua.core.seeding import generator
from minilingua.packing.corpus import Ints, LanguageCorpus
from minilingua.params import MixtureParams


def planned_shares(corpus: Sequence[LanguageCorpus], mixture: MixtureParams) -> dict[str, float]:
    """Returns language ─► share of the run in ``mixture.unit``; the shares sum to 1.

    Raises:
        ParamsError: a weight names a language without a conversation that fits into a pack.
    """
    if mixture.weights is None:
        weights = {part.language: float(_amounts(part, mixture).sum()) for part in corpus}
    else:
        weights = {str(language): weight for language, weight in mixture.weights.items()}
        for part in corpus:
            if part.language in weights and not len(part):
                reason = (
                    f"none of its {part.dropped_too_long} conversations in data/tokens/train fits "
                    "into pack.sequence_length"
                    if part.dropped_too_long
                    else "data/tokens/train has no conversation of it"
                )
                raise ParamsError(f"params.yaml: mixture.weights: {part.language!r}: {reason}")
    total = sum(weights.values())
    return {
        part.language: weights.get(part.language, 0.0) / total if total else 0.0 for part in corpus
    }


def orders(
    corpus: Sequence[LanguageCorpus], mixture: MixtureParams, *, epochs: float, seed: int
) -> dict[str, Ints]:
    """Returns language ─► indices into its corpus, in the order and as often as they are seen.

    Without weights each language makes ``epochs`` passes. With weights the run is as long as
    ``epochs`` passes over all languages that have one, measured in ``mixture.unit``, and each
    language gets its share: exactly for conversations (largest remainders), to the nearest
    conversation for tokens.
    """
    shares = planned_shares(corpus, mixture)
    if mixture.weights is None:
        counts = {part.language: math.floor(epochs * len(part) + 0.5) for part in corpus}
    elif mixture.unit == "conversations":
        mixed = sum(len(part) for part in corpus if shares[part.language] > 0)
        counts = largest_remainders(math.floor(epochs * mixed + 0.5), shares)
    else:
        mixed = sum(
            int(_amounts(part, mixture).sum()) for part in corpus if shares[part.language] > 0
        )
        counts = {
            part.language: _count_for(
                _amounts(part, mixture), shares[part.language] * epochs * mixed, part, seed
            )
            for part in corpus
        }
    return {part.language: _cycle(part, counts[part.language], seed) for part in corpus}


def largest_remainders(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Splits ``total`` into whole parts by ``shares``: each within one of its exact part."""
    exact = {name: share * total for name, share in shares.items()}
    counts = {name: math.floor(part) for name, part in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])  # stable
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def interleave(lengths: Sequence[int], seed: int) -> tuple[Ints, Ints]:
    """Spreads several sequences evenly over one.

    The k-th of n elements gets a random place in the k-th of n equal parts of the run, so that
    every stretch of the run holds about the shares of the whole.

    Args:
        lengths: how many elements each sequence has.
        seed: of the random places.

    Returns:
        For each place in the run, which sequence and which element of it: [sum], [sum].
    """
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    element = np.concatenate([np.arange(length) for length in (*lengths, 0)])
    places = [
        (np.arange(length) + generator(seed, "pack", "interleave", number).random(length)) / length
        for number, length in enumerate(lengths)
        if length
    ]
    order = np.argsort(np.concatenate([*places, np.zeros(0)]), kind="stable")
    return sequence[order].astype(np.int64), element[order].astype(np.int64)


def _amounts(part: LanguageCorpus, mixture: MixtureParams) -> Ints:
    """Returns what each conversation counts in the unit of the mixture, [n]."""
    if mixture.unit == "conversations":
        return np.ones(len(part), dtype=np.int64)
    return part.lengths if mixture.unit == "tokens" else part.supervised


def _shuffled(part: LanguageCorpus, epoch: int, seed: int) -> Ints:
    return generator(seed, "pack", "epoch", part.language, epoch).permutation(len(part))


def _cycle(part: LanguageCorpus, count: int, seed: int) -> Ints:
    """Returns the first ``count`` elements of an endless run of reshuffled epochs."""
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    passes = range(math.ceil(count / len(part)))
    return np.concatenate([_shuffled(part, epoch, seed) for epoch in passes])[:count]


def _count_for(amounts: Ints, target: float, part: LanguageCorpus, seed: int) -> int:
    """Returns after how many conversations the sum of amounts is nearest to ``target``."""
    if not len(part):
        return 0
    passes, rest = divmod(target, float(amounts.sum()))
    sums = np.concatenate([[0], np.cumsum(amounts[_shuffled(part, int(passes), seed)])])
    return int(passes) * len(part) + int(np.argmin(np.abs(sums - rest)))
