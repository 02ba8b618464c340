"""The evaluation, read back and checked."""

from pydantic import TypeAdapter, ValidationError

from minilingua.core.errors import DataError
from minilingua.core.files import require
from minilingua.core.records import Score
from minilingua.tracking.lineage import EVALUATION

_adapter = TypeAdapter(list[Score])


def read_scores() -> list[Score]:
    """Reads ``reports/evaluation.json``.

    Raises:
        MissingInputError: it has not been written.
        DataError: it is no list of scores.
    """
    text = require(EVALUATION, made_by="minilingua evaluate").read_bytes()
    try:
        return _adapter.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{EVALUATION}: {key}: {first['msg']}") from error
