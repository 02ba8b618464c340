"""The project's own stages, run in a directory of their own: where the benchmarks' data is from."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tqdm import tqdm

from minilingua.cli import main
from minilingua.configure import compose_params, render
from minilingua.core.files import write_text
from minilingua.params import Params

ROOT = Path(__file__).parents[1]
DATA_STAGES = ("fetch", "mcqa", "curate", "tokenizer", "tokenize", "pack")


def compose(overrides: Sequence[str]) -> Params:
    """Returns the parameters that ``minilingua configure`` would write."""
    return compose_params(overrides, ROOT / "conf")


@contextlib.contextmanager
def line(params: Params, stages: Sequence[str] = DATA_STAGES) -> Iterator[Path]:
    """Yields a temporary directory in which the stages have run, and makes it the current one."""
    with TemporaryDirectory(prefix="minilingua-benchmark-") as name:
        directory = Path(name)
        write_text(directory / "params.yaml", render(params))
        with contextlib.chdir(directory):
            for stage in tqdm(stages, desc="data", unit="stage", disable=None):
                # What the stages report is not the benchmark's output.
                with contextlib.redirect_stdout(sys.stderr):
                    code = main([stage])
                if code != 0:
                    raise SystemExit(code)
            yield directory
