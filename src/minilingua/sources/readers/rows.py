"""What readers share: their results, their two ways to fail, and typed access to native values."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A multiple-choice question with its key resolved."""

    question: str
    options: tuple[str, ...]
    answer: int
    """0-based index of the correct option."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One prompt and its response."""

    prompt: str
    response: str


class RejectedRowError(Exception):
    """This row is of no use, the others may be: it is dropped, counted and explained."""

    def __init__(self, reason: str, explanation: str) -> None:
        super().__init__(explanation)
        self.reason = reason


class UnexpectedShapeError(Exception):
    """The row is not of the shape that the reader knows: the whole file is refused."""


def text(values: dict[str, Any], *path: str) -> str:
    """Returns the stripped text at a path of keys; a null is an empty text.

    Raises:
        UnexpectedShapeError: a key is missing, or the value is not text.
        RejectedRowError: the text holds half a character.
    """
    value = lookup(values, *path)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnexpectedShapeError(f"{'.'.join(path)}: expected text, found {value!r:.60}")
    return _whole(value, ".".join(path)).strip()


def lookup(values: dict[str, Any], *path: str) -> Any:
    """Returns the value at a path of keys.

    Raises:
        UnexpectedShapeError: a key is missing.
    """
    value: Any = values
    for depth, key in enumerate(path):
        if not isinstance(value, dict) or key not in value:
            raise UnexpectedShapeError(f"{'.'.join(path[: depth + 1])} is missing")
        value = value[key]
    return value


def texts(value: Any, where: str) -> list[str]:
    """Returns a list of texts, each stripped; a null in it is an empty text.

    Raises:
        UnexpectedShapeError: it is not such a list.
        RejectedRowError: a text holds half a character.
    """
    if not isinstance(value, list) or not all(
        item is None or isinstance(item, str) for item in value
    ):
        raise UnexpectedShapeError(f"{where}: expected a list of texts, found {value!r:.60}")
    return [_whole(item or "", where).strip() for item in value]


def _whole(value: str, where: str) -> str:
    """Returns text that UTF-8 can hold: JSON may escape one half of a surrogate pair alone."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise RejectedRowError(
                "broken_text", f"{where}: half a character at {error.start}"
            ) from error
    return value
