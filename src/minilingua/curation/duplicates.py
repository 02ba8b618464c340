"""Exact duplicates across sources: the same turns once case, white space and accents' encoding go.

Compatibility forms stay apart (NFC, not NFKC): 10² is not 102.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from minilingua.core.records import InstructionExample

REASON = "duplicate"


def text_digest(example: InstructionExample) -> int:
    """Returns 64 bits that are equal for examples with the same normalised turns."""
    turns = (
        f"{turn.role}\x1f{' '.join(unicodedata.normalize('NFC', turn.content).split()).casefold()}"
        for turn in example.messages
    )
    digest = hashlib.blake2b("\x1e".join(turns).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


@dataclass(slots=True, kw_only=True)
class DuplicateIndex:
    """Remembers every conversation that was kept, of all languages: 8 bytes of text each."""

    seen: set[int] = field(default_factory=set)

    def first_of_each(
        self, examples: Iterable[InstructionExample]
    ) -> Iterator[tuple[InstructionExample, bool]]:
        """Yields each example, and whether it repeats one that was yielded before.

        The first one counts, so the caller sorts them: which of several equal ones stays must not
        depend on the order of files.
        """
        for example in examples:
            digest = text_digest(example)
            yield example, digest in self.seen
            self.seen.add(digest)
