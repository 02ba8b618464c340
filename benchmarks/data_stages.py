"""The data stages at the size of the published run: rows a second, memory, and how it grows.

A corpus with the published run's languages and lengths is written in the native layouts of the
sources; then mcqa, curate, tokenizer, tokenize and pack run on it, each in a process of its own. It
is done twice, with all conversations and with a tenth of them: what memory grows by shows there.
Packing is also compared with next-fit and first-fit on the same conversations.
"""

import csv
import importlib
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.harness import begin
from benchmarks.line import compose
from benchmarks.options import output_of, parser, positive, repetitions_of
from benchmarks.packers import compare
from benchmarks.reference_corpus import CONVERSATIONS, VOCABULARY, write_corpus
from benchmarks.results import Result, Table, report, verdict
from benchmarks.watched import Watched, watch
from minilingua.core import processes
from minilingua.core.files import read_json
from minilingua.core.tokens import open_token_file
from minilingua.params import Params

STAGES = {
    "mcqa": "minilingua.mcqa.stage",
    "curate": "minilingua.curation.stage",
    "tokenizer": "minilingua.chat.tokenizer_stage",
    "tokenize": "minilingua.chat.tokenize_stage",
    "pack": "minilingua.packing.stage",
}
OVERRIDES = (
    "experiment=triton",
    "sources.origin=sample",
    "sources.mirror=null",
    "tokenizer.path=pretrained",
    f"tokenizer.vocab_size={VOCABULARY}",
)
"""The published run's parameters, on the generated corpus."""
DEFAULT, SHORT, TENTH = 137_000, 6_000, 10
FIRST_FIT = 20_000
"""Conversations that the ways of packing are compared on: first-fit takes hours for all."""
ROWS_PER_SECOND, MEGABYTES, FILL, PLAN_SECONDS = 20_000, 2_000, 0.995, 60
FLAT = 1.25
"""Memory is flat where ten times the rows take at most so many times as much."""
COMPARES_ROWS = "curate"
"""The stage that may take more: it holds a record of each row, to compare them with each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One stage at one size."""

    stage: str
    conversations: int
    """The size of the corpus."""
    rows: int
    """What the stage read: rows, or conversations."""
    tokens: int | None
    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    load_average: float
    """Of the minute in which it ended: above the number of cores, others had a share of them."""

    @property
    def rows_per_second(self) -> float:
        """By the clock."""
        return self.rows / self.seconds


def run_stage(module: str, params: Params) -> None:
    """Runs a stage in the current directory, in as many processes for few rows as for many.

    Otherwise what memory grows by would be the processes that more rows are worth. They import no
    module of the benchmarks, as those of the command line do not either.
    """
    processes.WORTH_PROCESSES = 0
    sys.modules["__main__"] = ModuleType("__main__")
    importlib.import_module(module).run(params)


def measure(size: int, params: Params, directory: Path) -> list[Measured]:
    """Runs the stages on a corpus of some size, in an empty directory."""
    made = watch(write_corpus, directory, Path(), size)
    measured = []
    for stage, module in tqdm(STAGES.items(), desc=f"{size:,}", unit="stage", disable=None):
        took = watch(run_stage, directory, module, params)
        rows, tokens = read_rows(stage, directory)
        measured.append(_measured(stage, int(made.result), rows, tokens, took))
    return measured


def _measured(stage: str, size: int, rows: int, tokens: int | None, took: Watched) -> Measured:
    return Measured(
        stage=stage,
        conversations=size,
        rows=rows,
        tokens=tokens,
        seconds=round(took.seconds, 2),
        cpu_seconds=round(took.cpu_seconds, 2),
        peak_megabytes=round(took.peak_megabytes, 1),
        load_average=round(os.getloadavg()[0], 1),
    )


def read_rows(stage: str, directory: Path) -> tuple[int, int | None]:
    """Returns the rows that a stage read, as its outputs tell, and the tokens if it has any."""
    if stage == "tokenizer":  # a file is copied
        return 0, None
    if stage in ("mcqa", "curate"):
        name = {"mcqa": "mcqa", "curate": "conversations"}[stage]
        manifest = read_json(directory / "data" / name / "manifest.json")
        return manifest["rows_kept"] + manifest["rows_dropped"], None
    with (directory / "data/tokens/token_counts.csv").open(newline="") as stream:
        counts = list(csv.DictReader(stream))
    rows, tokens = (sum(int(row[name]) for row in counts) for name in ("conversations", "tokens"))
    return rows, tokens


def tables(small: Sequence[Measured], large: Sequence[Measured], fill: float) -> list[Table]:
    """Returns what was measured, and which targets it met."""
    figures = Table(
        columns=(
            "stage",
            "rows",
            "seconds",
            "rows/s",
            "tokens/s",
            "CPU s",
            "rows/CPU s",
            "peak",
            "load",
        ),
        rows=[_figures(item) for item in (*small, *large)],
    )
    size = large[0].conversations
    verdicts: list[tuple[str, ...]] = []
    for before, item in zip(small, large, strict=True):
        if item.stage in ("mcqa", "curate"):
            speed = item.rows_per_second
            met = verdict(met=speed >= ROWS_PER_SECOND)
            verdicts.append(
                (f"{item.stage}: rows a second", f"{speed:,.0f}", f"≥ {ROWS_PER_SECOND:,}: {met}")
            )
        if item.stage == "pack":
            met = verdict(met=item.seconds <= PLAN_SECONDS) if size >= 0.99 * CONVERSATIONS else ""
            verdicts += [
                ("pack: seconds", f"{item.seconds:.1f}", f"≤ {PLAN_SECONDS} for all: {met}"),
                ("pack: fill", f"{fill:.2%}", f"≥ {FILL:.1%}: {verdict(met=fill >= FILL)}"),
            ]
        peak, growth = item.peak_megabytes, item.peak_megabytes / before.peak_megabytes
        slope = (peak - before.peak_megabytes) / (size - before.conversations) * 1e5
        verdicts += [
            (
                f"{item.stage}: peak memory, MB",
                f"{peak:,.0f}",
                f"≤ {MEGABYTES:,}: {verdict(met=peak <= MEGABYTES)}",
            ),
            (
                f"{item.stage}: memory with {size / before.conversations:.0f} times the rows",
                f"{growth:.2f} x ({slope:+.1f} MB for 100,000)",
                "may grow"
                if item.stage == COMPARES_ROWS
                else f"≤ {FLAT} x: {verdict(met=growth <= FLAT)}",
            ),
        ]
    return [figures, Table(columns=("what", "measured", "target"), rows=verdicts)]


def _figures(item: Measured) -> tuple[str, ...]:
    return (
        item.stage,
        f"{item.rows:,}" if item.rows else "",
        f"{item.seconds:,.1f}",
        f"{item.rows_per_second:,.0f}" if item.rows else "",
        f"{item.tokens / item.seconds:,.0f}" if item.tokens else "",
        f"{item.cpu_seconds:,.1f}",
        f"{item.rows / item.cpu_seconds:,.0f}" if item.rows else "",
        f"{item.peak_megabytes:,.0f} MB",
        f"{item.load_average}",
    )


def train_lengths(directory: Path, params: Params) -> Any:
    """Returns [n] the tokens of all training conversations that fit into a pack, shuffled."""
    files = [open_token_file(directory / "data/tokens/train" / code) for code in params.languages]
    lengths = np.concatenate([file.lengths() for file in files])
    lengths = lengths[lengths <= params.pack.sequence_length]
    return np.random.default_rng(1).permutation(lengths)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    arguments = parser("data_stages", __doc__, repetitions=5, reads_line=False)
    arguments.add_argument(
        "--conversations",
        type=positive,
        help=f"of the larger corpus (default: {DEFAULT:,}; {SHORT:,} with --short; the published "
        f"run had {CONVERSATIONS:,})",
    )
    options = arguments.parse_args(argv)
    size = options.conversations or (SHORT if options.short else DEFAULT)
    if size < SHORT:
        arguments.error(
            f"a tenth of {size} conversations is less than a step of the training; {SHORT} are not"
        )
    settings = begin(options.threads)
    params = compose(OVERRIDES)
    with TemporaryDirectory(prefix="minilingua-benchmark-") as name:
        directories = [Path(name) / part for part in ("tenth", "all")]
        for directory in directories:
            directory.mkdir()
        small, large = (
            measure(count, params, directory)
            for count, directory in zip((size // TENTH, size), directories, strict=True)
        )
        figures = read_json(directories[1] / "data/plan/plan.json")["figures"]["train"]
        dropped = read_json(directories[1] / "data/conversations/manifest.json")["dropped"]
        lengths = train_lengths(directories[1], params)[:FIRST_FIT]
        rows, fills = compare(lengths, params.pack.sequence_length, repetitions_of(options))
    report(
        Result(
            benchmark="data_stages",
            claim="The data stages at the size of the published run.",
            settings={**settings, "conversations": size, "published": CONVERSATIONS},
            checks={
                "stages": [asdict(item) for item in (*small, *large)],
                "plan": {key: figures[key] for key in ("conversations", "tokens", "packs", "fill")},
                "dropped_by_curate": {
                    reason: sum(sum(languages.values()) for languages in sources.values())
                    for reason, sources in dropped.items()
                },
                "fill": fills,
            },
            rows=rows,
            tables=tables(small, large, figures["fill"]),
        ),
        output_of(options),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
