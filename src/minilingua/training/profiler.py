"""A window of steps under torch's profiler, as a trace for chrome://tracing or Perfetto.

``MINILINGUA_PROFILE=10:3`` profiles three steps from step 10 on; each rank writes
``runs/<run key>/profile/``. An aid for a person, so no parameter: what is trained stays the same.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from minilingua.core.errors import ParamsError

PROFILE_VARIABLE = "MINILINGUA_PROFILE"


@dataclass(slots=True, kw_only=True)
class ProfilerWindow:
    """Starts and stops the profiler at the steps of a window."""

    first: int
    """First step profiled; 0: none is."""
    count: int
    directory: Path
    rank: int
    _profiler: Any = None

    def before(self, step: int) -> None:
        """Call before each step."""
        if self.count and step == self.first:
            activities = [torch.profiler.ProfilerActivity.CPU]
            if torch.cuda.is_available():
                activities.append(torch.profiler.ProfilerActivity.CUDA)
            self._profiler = torch.profiler.profile(activities=activities, profile_memory=True)
            self._profiler.start()

    def after(self, step: int) -> None:
        """Call after each step; writes the trace after the last one of the window."""
        if self._profiler is None or step < self.first + self.count - 1:
            return
        self._profiler.stop()
        self.directory.mkdir(parents=True, exist_ok=True)
        name = f"steps_{self.first}_to_{step}_rank_{self.rank}.json"
        self._profiler.export_chrome_trace(str(self.directory / name))
        self._profiler = None


def profiler_window(
    directory: Path, rank: int, environment: Mapping[str, str] = os.environ
) -> ProfilerWindow:
    """Returns the window that the environment asks for, if any.

    Raises:
        ParamsError: it does not give a step and a number of steps.
    """
    asked = environment.get(PROFILE_VARIABLE)
    if not asked:
        return ProfilerWindow(first=0, count=0, directory=directory, rank=rank)
    first, _, count = asked.partition(":")
    if not (first.isdecimal() and count.isdecimal() and int(first) and int(count)):
        raise ParamsError(
            f"{PROFILE_VARIABLE}={asked}: expected FIRST:COUNT, such as 10:3 for three steps from "
            "step 10 on"
        )
    return ProfilerWindow(first=int(first), count=int(count), directory=directory, rank=rank)
