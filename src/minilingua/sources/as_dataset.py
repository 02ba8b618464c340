"""Sources as `datasets` objects, for notebooks and for other tools.

>>> from minilingua.sources.as_dataset import as_dataset
>>> as_dataset("aya", ["fi"]).take(3)
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minilingua.core.manifest import Manifest
from minilingua.sources.read import read_instructions, read_multiple_choice
from minilingua.sources.spec import load_spec

if TYPE_CHECKING:
    from datasets import IterableDataset

RAW = Path("data/raw")


def as_dataset(name: str, languages: Sequence[str], raw: Path = RAW) -> "IterableDataset":
    """Returns the rows of a source as its reader gives them, in the same order.

    Streaming, because a cache would go on giving the rows of before when raw data change.

    Args:
        name: a source, as in ``sources.include``.
        languages: codes to read; those that the source does not cover are ignored.
        raw: where ``minilingua fetch`` has put it.

    Raises:
        ParamsError: there is no such source.
        MissingInputError: when it is read, a file is missing.
        DataError: when it is read, a file is not what its spec says.
    """
    from datasets import IterableDataset

    multiple_choice = load_spec(name).kind == "multiple_choice"

    def rows() -> Iterator[dict[str, Any]]:
        manifest = Manifest(stage="as_dataset")
        read = read_multiple_choice if multiple_choice else read_instructions
        for row in read(raw, name, languages, manifest):
            yield asdict(row)

    return IterableDataset.from_generator(rows)
