"""Speed and memory of `curate` at the size of the reference (1.37 M conversations of 160 tokens).

    python benchmarks/curation.py                  100,000 rows, and a tenth of them
    python benchmarks/curation.py --rows 1367005   the reference's number

Rows are made from the sample's: prompts of several numbered questions, so that they are as long as
the reference's and differ; languages have the reference's shares, sources are written in their
native layouts, one row in 50 repeats another one exactly and one in 50 but for a word. Each size is
curated in a process of its own, whose memory (that of its own processes included, shared pages
once) is read ten times a second. Prints rows a second by the clock and by the processor, peak
memory, and its slope; writes them to benchmarks/results/curation.json.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from minilingua.core.files import write_json
from minilingua.core.seeding import generator
from minilingua.curation import stage as curate_stage
from minilingua.mcqa import stage as mcqa_stage
from minilingua.params import Params, SampleParams
from minilingua.params_file import load_params
from minilingua.sources.read import INSTRUCTION_SOURCES, MCQA_SOURCES
from minilingua.sources.sample.code import code_rows
from minilingua.sources.sample.draw import PromptRow, draw
from minilingua.sources.sample.generate import generate
from minilingua.sources.sample.instruction_layouts import INSTRUCTION_LAYOUTS
from minilingua.sources.sample.writers import SourceWriter
from minilingua.sources.spec import load_spec

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "curation.json"

REFERENCE = {
    "en": 297_867, "de": 97_436, "es": 82_948, "fr": 89_486, "it": 82_851, "pt": 80_829,
    "nl": 80_138, "pl": 82_404, "cs": 95_055, "bg": 82_777, "el": 67_202, "fi": 99_219,
    "sv": 78_149, "code": 50_644,
}  # fmt: skip
"""Conversations of the reference."""
TOKENS = 159
CHARACTERS = 3.7 * TOKENS
"""Characters of a row, prompt and answer, on average."""
QUESTIONS = SampleParams(facts=150, instruction_rows=600, mcqa_rows=130, code_rows=600)
REPEAT_EVERY = 50
SEED = 1


def main() -> None:
    """Curates two sizes and prints what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the larger size")
    parser.add_argument("--workers", type=int, help="processes; default: what the stage chooses")
    parser.add_argument("--directory", type=Path, help="where data goes; default: a temporary one")
    options = parser.parse_args()
    parent = options.directory or Path(tempfile.mkdtemp(prefix="curation-"))
    runs = []
    try:
        for rows in (options.rows // 10, options.rows):
            directory = parent / str(rows)
            written = _in_process(_make, directory, rows)
            runs.append(_measure(directory, written, options.workers))
            shutil.rmtree(directory)
            _print(runs[-1])
    finally:
        if options.directory is None:
            shutil.rmtree(parent)
    first, last = runs
    slope = (last["peak_mib"] - first["peak_mib"]) / (last["rows"] - first["rows"]) * 100_000
    print(f"memory: {slope:.1f} MiB for 100,000 rows more")
    write_json(
        RESULTS,
        {
            "runs": runs,
            "mib_per_100k_rows": round(slope, 2),
            "machine": {"cores": len(os.sched_getaffinity(0)), "python": platform.python_version()},
        },
    )


def _print(run: dict[str, Any]) -> None:
    print(
        f"{run['rows']:>9,} rows  {run['seconds']:7.1f} s  {run['rows_per_second']:>7,} rows/s"
        f"  {run['rows_per_cpu_second']:>7,} rows/CPU s  {run['peak_mib']:6.0f} MiB"
        f"  kept {run['kept']:,}  {run['dropped']}"
    )


def _params() -> Params:
    committed = load_params(ROOT / "params.yaml")
    split = {"validation": 0.02, "test": 0.01, "unseen_facts": 0.0, "minimum_test_mcqa": 20}
    return committed.model_copy(update={"curate": committed.curate.model_copy(update=split)})


def _make(directory: Path, rows: int) -> int:
    """Writes data/raw and data/mcqa of so many rows; returns how many they are."""
    raw = directory / "data" / "raw"
    raw.mkdir(parents=True)
    os.chdir(directory)
    generate(raw, MCQA_SOURCES, tuple(REFERENCE), QUESTIONS, SEED)
    mcqa_stage.run(_params())
    written = 13 * QUESTIONS.mcqa_rows
    base = {code: drawn.prompts for code, drawn in draw(QUESTIONS, SEED).items()}
    base["code"] = code_rows(QUESTIONS.code_rows, SEED)
    share = max(0, rows - written) / sum(REFERENCE.values())
    for number, name in enumerate(INSTRUCTION_SOURCES):
        made = {}
        for code in load_spec(name).languages:
            covering = [n for n in INSTRUCTION_SOURCES if code in load_spec(n).languages]
            count = round(REFERENCE[code] * share / len(covering))
            made[code] = list(_compose(base[code], count, generator(SEED, "bench", number, code)))
            written += count
        writer = SourceWriter(raw / name)
        INSTRUCTION_LAYOUTS[name](writer, made)
        writer.finish()
    return written


def _compose(base: list[PromptRow], count: int, rng: np.random.Generator) -> Iterator[PromptRow]:
    """Yields rows of several questions; some repeat the one before, with a word more or less."""
    length = sum(len(row.prompt) + len(row.answer) + 8 for row in base) / len(base)
    several = CHARACTERS / length
    previous: PromptRow | None = None
    for number in range(count):
        if previous is not None and number % REPEAT_EVERY < 2:
            extra = " +" * (number % REPEAT_EVERY) + " ok" * (number % REPEAT_EVERY)
            yield _row(previous.prompt, previous.answer + extra)
            continue
        size = max(1, int(rng.exponential(several - 1)) + 1)
        chosen = [base[index] for index in rng.integers(len(base), size=size)]
        prompt = " ".join(f"{place}) {row.prompt}" for place, row in enumerate(chosen, start=1))
        answer = " ".join(f"{place}) {row.answer}" for place, row in enumerate(chosen, start=1))
        previous = _row(" ".join(prompt.split()), " ".join(answer.split()))
        yield previous


def _row(prompt: str, answer: str) -> PromptRow:
    return PromptRow(instruction=prompt, given="", answer=answer, prompt=prompt, fact=None)


def _in_process(function: Any, *arguments: Any) -> Any:
    """Runs a function in a process of its own, so that its memory is not measured with ours."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(function, arguments)


def _measure(directory: Path, rows: int, workers: int | None) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_curate, args=(directory, workers, sender))
    process.start()
    peak = [0.0]
    watcher = threading.Thread(target=_watch, args=(process.pid, peak))
    watcher.start()
    taken = receiver.recv()
    process.join()
    watcher.join()
    manifest = json.loads((directory / "data/conversations/manifest.json").read_text())
    dropped = {
        reason: sum(count for languages in sources.values() for count in languages.values())
        for reason, sources in manifest["dropped"].items()
    }
    return {
        "rows": rows,
        "kept": manifest["rows_kept"],
        "dropped": dropped,
        "seconds": round(taken["seconds"], 2),
        "cpu_seconds": round(taken["cpu_seconds"], 2),
        "rows_per_second": round(rows / taken["seconds"]),
        "rows_per_cpu_second": round(rows / taken["cpu_seconds"]),
        "peak_mib": round(peak[0] / 2**20, 1),
    }


def _curate(directory: Path, workers: int | None, sender: Any) -> None:
    os.chdir(directory)
    if workers is not None:
        curate_stage.workers_for = lambda _: workers
    before = _cpu()
    start = time.perf_counter()
    curate_stage.run(_params())
    sender.send({"seconds": time.perf_counter() - start, "cpu_seconds": _cpu() - before})


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _watch(pid: int | None, peak: list[float]) -> None:
    assert pid is not None
    root = psutil.Process(pid)
    while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
        total = 0
        try:
            for process in [root, *root.children(recursive=True)]:
                total += process.memory_full_info().pss
        except psutil.Error:
            continue
        peak[0] = max(peak[0], total)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
