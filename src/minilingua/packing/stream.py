"""The conversations that a run sees, in their order, block by block.

    parts, how often each is seen ─► which part stands at each place ─► its next conversation

No more than a block is in memory, beside the lengths of the corpus and one shuffled epoch of each
part: 17 bytes a conversation, whatever the number of epochs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from minilingua.core.plan import pack_ref
from minilingua.packing.corpus import Ints, LanguageCorpus
from minilingua.packing.mixture import Order, interleave
from minilingua.packing.parts import Part

Conversations = npt.NDArray[np.void]
"""[n] of ``CONVERSATION``."""

CONVERSATION = np.dtype(
    [
        ("ref", "<u8"),
        ("language", "<i4"),
        ("source", "<i4"),
        ("length", "<i4"),
        ("supervised", "<i4"),
    ]
)
"""``ref`` as in the plan; ``language`` and ``source`` are numbers in the corpus; tokens."""


def training_stream(
    corpus: Sequence[LanguageCorpus], parts: Sequence[Part], counts: Sequence[int], seed: int
) -> Iterator[Conversations]:
    """Yields the run in blocks.

    Args:
        corpus: the training split.
        parts: its parts.
        counts: how many conversations of each part the run sees, repetitions counted.
        seed: of the order.
    """
    languages = {item.language: number for number, item in enumerate(corpus)}
    orders = [Order(part, seed) for part in parts]
    for places in interleave(counts, seed):
        block = np.zeros(len(places), dtype=CONVERSATION)
        for number in np.unique(places).tolist():
            here = places == number
            elements = orders[number].take(int(here.sum()))
            block[here] = _conversations(corpus, languages[parts[number].language], elements)
        yield block


def held_out_stream(corpus: Sequence[LanguageCorpus]) -> Iterator[Conversations]:
    """Yields the conversations of each language once."""
    for number, item in enumerate(corpus):
        yield _conversations(corpus, number, np.arange(len(item)))


def _conversations(corpus: Sequence[LanguageCorpus], number: int, elements: Ints) -> Conversations:
    item = corpus[number]
    found = np.zeros(len(elements), dtype=CONVERSATION)
    found["ref"] = item.rows[elements]
    found["ref"] |= np.uint64(pack_ref(item.language, 0))
    found["language"] = number
    found["source"] = item.sources[elements]
    found["length"] = item.lengths[elements]
    found["supervised"] = item.supervised[elements]
    return found
