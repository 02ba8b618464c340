import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.watched import watch

HELD = 80_000_000


def hold_and_work(seconds: float) -> str:
    """Holds memory itself and in a process that it starts, and keeps a processor busy."""
    held = bytearray(b"1") * HELD
    code = f"import time; held = bytearray(b'1') * {HELD}; time.sleep({seconds})"
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        while child.poll() is None:
            held[0] = 0
    return os.fspath(Path.cwd())


def fail() -> None:
    raise SystemExit(3)


def test_time_and_memory_of_a_process_and_its_children(tmp_path: Path) -> None:
    begin = time.perf_counter()
    watched = watch(hold_and_work, tmp_path, 2.0)
    assert watched.result == os.fspath(tmp_path)
    assert 2 <= watched.seconds <= time.perf_counter() - begin
    assert watched.cpu_seconds > 0
    assert watched.peak_megabytes > 2 * HELD / 1e6


def test_what_fails_ends_the_benchmark(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="test_watched failed"):
        watch(fail, tmp_path)
