"""The evaluation, read back and checked."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from minilingua.core.errors import DataError
from minilingua.core.files import require
from minilingua.core.records import Score
from minilingua.provenance.lineage import EVALUATION

_adapter = TypeAdapter(list[Score])


def read_scores() -> list[Score]:
    """Reads ``reports/evaluation.json``.

    Raises:
        MissingInputError: it has not been written.
        DataError: it is no list of scores.
    """
    return read_scores_of(require(EVALUATION, made_by="minilingua evaluate"))


def read_scores_of(path: Path) -> list[Score]:
    """Reads the scores of a file; none where there is no file.

    Raises:
        DataError: it is no list of scores.
    """
    if not path.exists():
        return []
    text = path.read_bytes()
    try:
        return _adapter.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: {key}: {first['msg']}") from error
