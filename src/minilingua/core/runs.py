"""Where trainings keep what they write, and how a person names one.

runs/<run key>/     one training: run.json, events.jsonl, telemetry.jsonl, states, weights
runs/current        the key of the training that started last
"""

from pathlib import Path

from minilingua.core.errors import MissingInputError
from minilingua.core.files import require

RUNS = Path("runs")
CURRENT = RUNS / "current"
MADE_BY = "minilingua train"


def find_run(key: str | None) -> Path:
    """Returns the directory of a run.

    Args:
        key: the run key or the beginning of one; None: the run that started last.

    Raises:
        MissingInputError: there is none, or more than one.
    """
    if key is None:
        key = require(CURRENT, MADE_BY).read_text(encoding="utf-8").strip()
    keys = run_keys()
    found = [name for name in keys if name.startswith(key)] if key else []
    if len(found) != 1:
        raise MissingInputError(
            f"{RUNS}/ has {len(found)} runs {key!r}; there are {', '.join(keys) or 'none'}"
        )
    return RUNS / found[0]


def run_keys() -> list[str]:
    """Returns the keys of all runs, sorted."""
    return sorted(about.parent.name for about in RUNS.glob("*/run.json"))
