"""What readers share: their results, their two ways to fail, and typed access to native values."""

from collections.abc import Iterator
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
    """One prompt and its response, and what was said after."""

    prompt: str
    response: str
    later: tuple[str, ...] = ()
    """Further turns, of the user and the assistant in alternation; the assistant's is the last."""

    @property
    def turns(self) -> tuple[str, ...]:
        """All turns, the user's first."""
        return (self.prompt, self.response, *self.later)


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
        RejectedRowError: it cannot be written as UTF-8.
    """
    value = lookup(values, *path)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UnexpectedShapeError(f"{'.'.join(path)}: expected text, found {value!r:.60}")
    return _encodable(value.strip(), path[-1])


def lookup(values: dict[str, Any], *path: str) -> Any:
    """Returns the value at a path of keys.

    Raises:
        UnexpectedShapeError: a key is missing.
    """
    value: Any = values
    try:
        for key in path:
            value = value[key]
    except (KeyError, TypeError) as error:
        raise UnexpectedShapeError(f"{'.'.join(_to_missing(values, path))} is missing") from error
    return value


def _to_missing(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    """Yields the keys of a path up to the first one that is missing."""
    for key in path:
        yield key
        if not isinstance(value, dict) or key not in value:
            return
        value = value[key]


def texts(value: Any, where: str) -> list[str]:
    """Returns a list of texts, each stripped; a null in it is an empty text.

    Raises:
        UnexpectedShapeError: it is not such a list.
        RejectedRowError: one of them cannot be written as UTF-8.
    """
    if not isinstance(value, list) or not all(
        item is None or isinstance(item, str) for item in value
    ):
        raise UnexpectedShapeError(f"{where}: expected a list of texts, found {value!r:.60}")
    return [_encodable((item or "").strip(), where) for item in value]


def _encodable(value: str, where: str) -> str:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RejectedRowError(
            "invalid_text", f"{where} holds half a surrogate pair at character {error.start}"
        ) from error
    return value
