"""What a person sees of a job: its log as it grows, and how far its training is."""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

_KEPT = 4096
"""Bytes of the log that are shown again when a job is re-attached to."""


def say(message: str) -> None:
    """Prints one line above the progress bar, if there is one."""
    tqdm.write(f"minilingua: {message}", file=sys.stderr)


@dataclass(slots=True)
class LogView:
    """Forwards a log file to standard error, whole lines only."""

    path: Path
    _position: int = 0
    _rest: bytes = b""

    def skip_old(self) -> None:
        """Begins near the end of what is there."""
        size = self.path.stat().st_size if self.path.is_file() else 0
        if size > _KEPT:
            with self.path.open("rb") as stream:
                stream.seek(size - _KEPT)
                stream.readline()
                self._position = stream.tell()

    def show_new(self) -> None:
        """Prints what has been added."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self._position)
                data = self._rest + stream.read()
                self._position = stream.tell()
        except FileNotFoundError:
            return
        *lines, self._rest = data.split(b"\n")
        for line in lines:
            tqdm.write(line.decode(errors="replace"), file=sys.stderr)

    def show_rest(self) -> None:
        """Prints the last line even if it is unfinished."""
        self.show_new()
        if self._rest:
            tqdm.write(self._rest.decode(errors="replace"), file=sys.stderr)
            self._rest = b""


@dataclass(slots=True)
class ProgressView:
    """A bar of optimizer steps, read from the events of the run; only on a terminal."""

    run: Path | None
    steps: int | None
    _bar: Any = field(default=None)
    _position: int = 0

    def show(self) -> None:
        """Moves the bar to the last step that is on record."""
        if self.run is None or not self.steps or not sys.stderr.isatty():
            return
        step = self._last_step()
        if step is None:
            return
        if self._bar is None:
            self._bar = tqdm(
                total=self.steps, initial=step, unit="step", dynamic_ncols=True, file=sys.stderr
            )
        self._bar.update(step - self._bar.n)

    def close(self) -> None:
        """Takes the bar away."""
        if self._bar is not None:
            self._bar.close()

    def _last_step(self) -> int | None:
        assert self.run is not None
        try:
            with (self.run / "events.jsonl").open("rb") as stream:
                stream.seek(self._position)
                data = stream.read()
        except FileNotFoundError:
            return None
        end = data.rfind(b"\n") + 1
        self._position += end
        step = None
        for line in data[:end].splitlines():
            try:
                event = json.loads(line)
            except ValueError:  # a line that a killed writer left unfinished
                continue
            if event.get("kind") == "step":
                step = int(event["step"])
        return step
