"""What a page was made from, noted in it: a page outlives the outputs that it tells of.

<meta name="made-from" content="MARK">      written by `report` and `preview`, read by `track`
"""

from pathlib import Path

from minilingua.core.files import sha256_file
from minilingua.provenance.lineage import EVALUATION, Lineage
from minilingua.provenance.training_record import EVENTS

_TOKENS = "data/tokens"


def mark_of_results() -> str:
    """Returns the mark of a page on the training and evaluation that lie here."""
    return f"{sha256_file(EVENTS)}-{sha256_file(EVALUATION)}"


def mark_of_tokens(lineage: Lineage) -> str:
    """Returns the mark of a page on ``data/tokens``: their hash in dvc.lock."""
    return lineage.recorded("tokenize", "outs").get(_TOKENS, "unrecorded")


def has_mark(page: Path, mark: str) -> bool:
    """Tells whether a page is there and was made from what a mark names."""
    return page.exists() and f'name="made-from" content="{mark}"'.encode() in page.read_bytes()
