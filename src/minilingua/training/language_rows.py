"""A language's token file with what training asks of each conversation: rows, and targets.

A conversation is cut after its last target row (``data`` says why), so it takes as many rows of the
model as ``rows_needed`` says, or none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minilingua.core.errors import DataError
from minilingua.core.tokens import TokenFile, open_token_file


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageRows:
    """A token file with what is asked of each of its conversations."""

    file: TokenFile
    tokens: npt.NDArray[Any]
    loss_mask: npt.NDArray[np.uint8]
    rows_needed: npt.NDArray[np.int64]
    """[conversations] tokens up to and including the last target row; 0: no target."""
    supervised: npt.NDArray[np.int64]
    """[conversations] targets."""


def open_language_rows(path: Path, highest_row: int, vocab_size: int) -> LanguageRows:
    """Opens a token file and finds the targets of all its conversations.

    Args:
        path: the language's directory.
        highest_row: the last conversation that the plan asks for.
        vocab_size: of the base model.

    Raises:
        MissingInputError: a file is missing.
        DataError: the conversation is not there, or a token lies outside the vocabulary.
    """
    file = open_token_file(path)
    if highest_row >= len(file):
        raise DataError(
            f"{path}: has {len(file)} conversations, the plan asks for row {highest_row}: it was "
            "made from other tokens; run `dvc repro pack`"
        )
    tokens, mask = file.tokens.view(np.ndarray), file.loss_mask.view(np.ndarray)
    if (largest := int(tokens.max(initial=0))) >= vocab_size:
        raise DataError(
            f"{path}: holds token {largest}, but the base model's vocabulary has {vocab_size}: "
            "tokens and base come from different tokenizers"
        )
    starts = file.offsets[:-1].astype(np.int64)
    within = np.arange(len(tokens)) - np.repeat(starts, file.lengths())
    position = np.where(mask.astype(bool), within, 0)  # a first token has nothing before it
    return LanguageRows(
        file=file,
        tokens=tokens,
        loss_mask=mask,
        rows_needed=np.maximum.reduceat(position, starts),
        supervised=np.add.reduceat((position > 0).astype(np.int64), starts),
    )
