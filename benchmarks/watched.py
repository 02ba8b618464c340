"""Work in a process of its own: its time, its processors' time and its memory."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # it ships no type information

from benchmarks.harness import cpu_seconds

_EVERY = 0.1  # seconds
MEGABYTE = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What a piece of work took, and what it returned."""

    result: Any
    seconds: float
    """By the clock, without the imports of this module; the processes it starts included."""
    cpu_seconds: float
    """Of all processors together, the processes it starts included."""
    peak_megabytes: float
    """Largest proportional set size of the process and all that it started: pages that several
    share count once. Looked at ten times a second."""


def watch(work: Callable[..., Any], directory: Path, *arguments: object) -> Watched:
    """Does work in a new process whose current directory is ``directory``.

    Raises:
        SystemExit: it failed; its own message is on the standard error stream.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, work, directory, arguments))
    process.start()
    sender.close()
    assert process.pid is not None
    peak = _Peak(process.pid)
    with peak:
        try:
            result, seconds, cpu = receiver.recv()
        except EOFError:
            process.join()
            raise SystemExit(f"{work.__module__} failed") from None
    process.join()
    return Watched(
        result=result,
        seconds=seconds,
        cpu_seconds=cpu,
        peak_megabytes=peak.bytes / MEGABYTE,
    )


def _run(
    sender: Connection, work: Callable[..., Any], directory: Path, arguments: tuple[object, ...]
) -> None:
    os.chdir(directory)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # what stages report is not the benchmark's output
    cpu, begin = cpu_seconds(), time.perf_counter()
    result = work(*arguments)
    sender.send((result, time.perf_counter() - begin, cpu_seconds() - cpu))


class _Peak:
    """Looks at the memory of a process and its children as long as its block runs."""

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._root = psutil.Process(pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_EVERY):
            total = 0
            try:
                for process in (self._root, *self._root.children(recursive=True)):
                    total += process.memory_full_info().pss
            except psutil.Error:  # one of them has ended meanwhile
                continue
            self.bytes = max(self.bytes, total)
