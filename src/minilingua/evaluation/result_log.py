"""Results of batches on disk as they come, so that a killed evaluation goes on where it was.

    runs/evaluation/<digest>.jsonl      one line a batch: its number and its results

The digest stands for everything that a result depends on (model, requests, batches, this code), so
a log is used again for the same work only. It lies outside of what DVC versions, and is kept until
the next evaluation has ended: an unchanged base is not evaluated again.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from minilingua.core.errors import RunBusyError
from minilingua.core.files import canonical_json

LOGS = Path("runs/evaluation")
_QUIET_S = 300.0
"""Another process that has added nothing for so long is not waited for any longer."""


class ResultLog:
    """The log of one piece of work."""

    def __init__(self, path: Path | None = None) -> None:
        """Reads what is there; a last line that was not written to its end is dropped.

        Args:
            path: the file; None: nothing is kept.
        """
        self._path = path
        self.done: dict[int, Any] = {}
        """Number of a batch ─► its results, as JSON."""
        if path is None or not path.exists():
            return
        whole = 0
        with path.open("rb") as stream:
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                try:
                    number, results = json.loads(line)
                except ValueError:
                    break
                self.done[number] = results
                whole += len(line)
        with path.open("rb+") as stream:
            stream.truncate(whole)

    def add(self, number: int, results: Any) -> None:
        """Appends the results of a batch."""
        self.done[number] = results
        if self._path is not None:
            with self._path.open("ab") as stream:
                stream.write((canonical_json([number, results]) + "\n").encode())


@contextmanager
def result_log(used: set[str], **depends_on: Any) -> Iterator[ResultLog]:
    """Opens the log of some work for the block; no other process can meanwhile.

    One that does the same work, as when a killed DVC has left it, is waited for as long as it adds
    results, which are then used.

    Args:
        used: gets the name of the log, for ``forget_others``.
        depends_on: everything that the results depend on, as JSON.

    Raises:
        RunBusyError: another process does the same work, and has come to a stand.
    """
    digest = hashlib.sha256(canonical_json(depends_on).encode()).hexdigest()[:16]
    used.add(digest)
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{digest}.jsonl"
    with _held(path):
        yield ResultLog(path)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    lock = FileLock(path.with_suffix(".lock"))
    size = _size(path)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=_QUIET_S)
        except Timeout as error:
            if (now := _size(path)) == size:
                raise RunBusyError(
                    f"{path} is held by another evaluation of the same models, which has added "
                    f"nothing for {_QUIET_S:.0f} s: end it, or wait for it"
                ) from error
            size = now
    try:
        yield
    finally:
        lock.release()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def forget_others(used: set[str]) -> None:
    """Deletes the logs of other work than that which has just ended."""
    for path in sorted(LOGS.glob("*.jsonl")):
        if path.stem not in used:
            path.unlink()
            path.with_suffix(".lock").unlink(missing_ok=True)
