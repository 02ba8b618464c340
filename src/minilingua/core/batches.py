"""Rows by the batch: a step for many rows after the other, then the next step for them.

Done row by row, all steps of a row take half as long again: each pushes the code and the tables of
the others out of the processor's cache.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Row = TypeVar("Row")

BATCH_ROWS = 256
BUFFERED_ROWS = 64
"""Enough to gain by it; several buffers that follow each other hold so many rows each."""


def batches(rows: Iterable[Row], size: int = BATCH_ROWS) -> Iterator[list[Row]]:
    """Yields the rows in lists of ``size``; the last one may be shorter."""
    left = iter(rows)
    while batch := list(islice(left, size)):
        yield batch


def buffered(rows: Iterable[Row]) -> Iterator[Row]:
    """Yields the rows one by one, but draws many of them at a time."""
    for batch in batches(rows, BUFFERED_ROWS):
        yield from batch
