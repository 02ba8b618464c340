"""The parts of a mixture: what has a share of the run of its own.

A part is a language or, with weights of sources, a source of a language. Shares are those of the
mixture's weights, normalised: languages over the run, sources within their language.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minilingua.core.errors import ParamsError, did_you_mean
from minilingua.packing.corpus import Ints, LanguageCorpus
from minilingua.params import MixtureParams


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Conversations that share one weight."""

    language: str
    source: str | None
    """None: all sources of the language."""
    members: Ints
    """[n] indices into the language's corpus, ascending."""
    amounts: Ints
    """[n] what each counts in the unit of the mixture; read only."""
    share: float
    """Planned share of the run in the unit of the mixture; those of all parts sum to 1."""

    def __len__(self) -> int:
        return len(self.members)


def divide(corpus: Sequence[LanguageCorpus], mixture: MixtureParams) -> list[Part]:
    """Returns the parts, in the order of the corpus; with source weights only those that have one.

    Raises:
        ParamsError: a weight is on nothing: no conversation of that language or source fits into a
            pack, or no language and source that both have a weight meet.
    """
    _check_languages(corpus, mixture)
    _check_sources(corpus, mixture)
    amounts = [amounts_of(language, mixture) for language in corpus]
    found = [
        _parts_of_language(language, amount, mixture.sources)
        for language, amount in zip(corpus, amounts, strict=True)
    ]
    weights: dict[str, float] = {
        language.language: float(sum(amount[members].sum() for _, members, _ in parts))
        for language, amount, parts in zip(corpus, amounts, found, strict=True)
    }
    if mixture.weights is not None:
        given = {str(code): weight for code, weight in mixture.weights.items()}
        weights = {code: given.get(code, 0.0) for code in weights}
    total = math.fsum(weights.values()) or 1.0
    return [
        Part(
            language=language.language,
            source=source,
            members=members,
            amounts=amount if source is None else amount[members],
            share=weights[language.language] / total * within,
        )
        for language, amount, parts in zip(corpus, amounts, found, strict=True)
        for source, members, within in parts
    ]


def amounts_of(language: LanguageCorpus, mixture: MixtureParams) -> Ints:
    """Returns what each conversation counts in the unit of the mixture, [n]."""
    if mixture.unit == "conversations":
        return np.broadcast_to(np.int32(1), len(language))  # takes no memory
    return language.lengths if mixture.unit == "tokens" else language.supervised


def _parts_of_language(
    language: LanguageCorpus, amounts: Ints, sources: Mapping[str, float] | None
) -> list[tuple[str | None, Ints, float]]:
    """Returns (source, members, share within the language)."""
    if sources is None:
        return [(None, np.arange(len(language), dtype=np.int32), 1.0)]
    members = {
        name: np.flatnonzero(language.sources == number).astype(np.int32)
        for number, name in enumerate(language.source_names)
        if name in sources
    }
    present = {name: sources[name] for name in sorted(members) if amounts[members[name]].sum()}
    total = math.fsum(present.values())
    return [(name, members[name], weight / total) for name, weight in present.items()]


def _check_languages(corpus: Sequence[LanguageCorpus], mixture: MixtureParams) -> None:
    for language in corpus:
        if mixture.weights is None or language.language not in mixture.weights:
            continue
        reason = None
        if not len(language):
            reason = _nothing(language.dropped_too_long)
        elif mixture.sources is not None and not set(mixture.sources) & _sources(language):
            reason = (
                f"none of its conversations is of a source in mixture.sources; it has "
                f"{', '.join(sorted(_sources(language)))}"
            )
        if reason:
            raise ParamsError(f"params.yaml: mixture.weights: {language.language!r}: {reason}")


def _check_sources(corpus: Sequence[LanguageCorpus], mixture: MixtureParams) -> None:
    weighted = [
        language
        for language in corpus
        if mixture.weights is None or language.language in mixture.weights
    ]
    here = {name for language in weighted for name in _sources(language)}
    anywhere = {name for language in corpus for name in language.source_names}
    for name in mixture.sources or ():
        if name in here:
            continue
        too_long = sum(language.too_long.get(name, 0) for language in weighted)
        reason = _nothing(too_long) + did_you_mean(name, anywhere)
        if name in anywhere and not too_long:
            reason = "no language of mixture.weights has a conversation of it"
        raise ParamsError(f"params.yaml: mixture.sources: {name!r}: {reason}")


def _sources(language: LanguageCorpus) -> set[str]:
    """Returns the sources with a conversation that fits into a pack."""
    return {language.source_names[number] for number in np.unique(language.sources)}


def _nothing(too_long: int) -> str:
    if too_long:
        return (
            f"none of its {too_long} conversations in data/tokens/train fits into "
            "pack.sequence_length"
        )
    return "data/tokens/train has no conversation of it"
