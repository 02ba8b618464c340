"""Items of the test split that stand in the training data, as curation found them.

data/conversations/contamination.jsonl ─► ids and keys of items in rows that were trained on
     └► every score once more without them, as the task ``.._uncontaminated``
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from minilingua.core.files import read_jsonl
from minilingua.core.records import ItemResult

FINDINGS = Path("data/conversations/contamination.jsonl")
SUBSET = "uncontaminated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A line of curation's findings; keys beyond these are left alone."""

    set: str
    """``test``, ``validation`` or a benchmark."""
    item: str
    """``Conversation.id`` of the evaluation item, or its name in a benchmark."""
    key: str | None
    """Its ``Conversation.key``."""
    is_dropped: bool
    """The training row that holds it was left out of training."""


def contaminated_items(path: Path = FINDINGS) -> frozenset[str] | None:
    """Returns the ids and keys of test items that were trained on; None if nobody looked.

    Raises:
        DataError: a line is malformed.
    """
    if not path.exists():
        return None
    trained_on = [
        finding
        for finding in read_jsonl(path, Finding)
        if finding.set == "test" and not finding.is_dropped
    ]
    keys = {finding.key for finding in trained_on if finding.key is not None}
    return frozenset({finding.item for finding in trained_on} | keys)


def mark_uncontaminated(
    results: Iterable[ItemResult], contaminated: Collection[str] | None
) -> list[ItemResult]:
    """Returns the results, those of other items marked as the subset ``uncontaminated``.

    Args:
        results: of any tasks.
        contaminated: ids and keys of items; None: nothing is known, and nothing is marked.
    """
    if contaminated is None:
        return list(results)
    return [
        result
        if result.item in contaminated
        else replace(result, subsets=(*result.subsets, SUBSET))
        for result in results
    ]
