"""The project's own stages, run in a directory of their own: where the benchmarks' data is from."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Where the data is, and where a benchmark may write."""

    path: Path
    """The stages have run here. Read only."""
    scratch: Path
    """Empty at first, and gone afterwards."""


@contextlib.contextmanager
def line(
    params: Params, stages: Sequence[str] = DATA_STAGES, *, ready: Path | None = None
) -> Iterator[Line]:
    """Yields a line in which the stages have run.

    Args:
        params: what the stages are run with.
        stages: which of them are needed.
        ready: where they have run already, with other parameters perhaps.
    """
    with TemporaryDirectory(prefix="minilingua-benchmark-") as name:
        scratch = Path(name) / "scratch"
        scratch.mkdir()
        if ready is not None:
            yield Line(path=ready.resolve(), scratch=scratch)
            return
        path = Path(name) / "line"
        write_text(path / "params.yaml", render(params))
        with contextlib.chdir(path):
            for stage in tqdm(stages, desc="data", unit="stage", disable=None):
                # What the stages report is not the benchmark's output.
                with contextlib.redirect_stdout(io.StringIO()):
                    code = main([stage])
                if code != 0:
                    raise SystemExit(code)
        yield Line(path=path, scratch=scratch)
