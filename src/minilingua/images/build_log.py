"""The log of a build: lines above a progress bar of the recipe's steps, and the last ones kept."""

import re
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
_KEPT = 30


class BuildLog:
    """Prints lines as they come; on a terminal, with a bar that stands at the recipe's step."""

    def __init__(self, name: str) -> None:
        self._bar = tqdm(desc=name, unit="step", disable=None, file=sys.stderr)
        self._last: deque[str] = deque(maxlen=_KEPT)

    def add(self, line: str) -> None:
        """Prints one line."""
        if not line.strip():
            return
        self._last.append(line)
        tqdm.write(line, file=sys.stderr)
        if step := _STEP.match(line):
            self._bar.total = int(step[2])
            self._bar.n = int(step[1])
            self._bar.refresh()

    def reason(self) -> str:
        """Returns the last line that names an error, or the last line."""
        named = [line for line in self._last if re.search(r"error|fatal|failed", line, re.I)]
        return (named or list(self._last) or ["no output"])[-1].strip()

    def close(self) -> None:
        """Takes the bar away."""
        self._bar.close()


@contextmanager
def build_log(name: str) -> Iterator[BuildLog]:
    """Yields a log for the block."""
    log = BuildLog(name)
    try:
        yield log
    finally:
        log.close()
