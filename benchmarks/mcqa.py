"""Claim: multiple-choice rows become conversations by the ten thousand a second, in flat memory.

    python benchmarks/mcqa.py               # about a minute
    python benchmarks/mcqa.py --help

The stage ``mcqa`` is run, in a process of its own each time, on rows in the native layouts of
EXAMS, ARC and SweFAQ, as many for each language as the published sources have, times a factor.
Their words are random and as long as the real ones. Each row is written four times: once for
training, once in each answer format for evaluation.

Seconds are those of the stage without imports; starting its processes is part of them. Memory is
the largest peak of one process.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minilingua.configure import compose_params
from minilingua.core.seeding import generator
from minilingua.mcqa import stage

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/mcqa.json"
EXAMS = {
    "de": ("German", 1127), "es": ("Spanish", 785), "fr": ("French", 868), "it": ("Italian", 1170),
    "pt": ("Portuguese", 1011), "pl": ("Polish", 1535), "bg": ("Bulgarian", 2015),
}  # fmt: skip
"""Code ─► name, and rows of EXAMS and INCLUDE together."""
ARC_ROWS, SWEFAQ_ROWS = 1418, 867
_ALPHABET = "abcdefghijklmnoprstuvzäéßčж"


def main() -> None:
    """Measures, prints a table and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--factors", type=float, nargs="+", default=[1, 10], help="times the published rows"
    )
    parser.add_argument("--repetitions", type=int, default=3, help="of every size")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the JSON goes")
    arguments = parser.parse_args()
    runs = [measure(factor, arguments.repetitions) for factor in arguments.factors]
    machine = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps({"machine": machine, "runs": runs}, indent=2) + "\n")
    print("    rows  processes  seconds  rows a second  CPU microseconds a row  peak MB")
    for run in runs:
        print(
            f"{run['rows']:>8,} {run['processes']:>10} {run['seconds']:>8.2f} "
            f"{run['rows_per_second']:>14,} {run['cpu_microseconds_per_row']:>23.0f} "
            f"{run['peak_megabytes']:>8.0f}"
        )


def measure(factor: float, repetitions: int) -> dict[str, float]:
    """Returns the fastest of several runs on freshly written rows."""
    with tempfile.TemporaryDirectory() as directory:
        rows = write_raw(Path(directory) / "data/raw", factor)
        found = [run_once(directory) for _ in range(repetitions)]
    best = min(found, key=lambda run: run["seconds"])
    return {
        "rows": rows,
        **best,
        "rows_per_second": round(rows / best["seconds"]),
        "cpu_microseconds_per_row": round(best["cpu_seconds"] / rows * 1e6, 1),
        "repetitions": repetitions,
    }


def run_once(directory: str) -> dict[str, float]:
    """Runs the stage in a new process."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_stage, args=(directory, sender))
    process.start()
    sender.close()
    measured: dict[str, float] = receiver.recv()
    process.join()
    return measured


def run_stage(directory: str, sender: Any) -> None:
    """Runs the stage in ``directory`` and sends what it took, its own processes included."""
    params = compose_params([], ROOT / "conf")
    included = params.sources.model_copy(update={"include": ("exams", "arc_challenge", "swefaq")})
    params = params.model_copy(update={"sources": included, "languages": ("en", *EXAMS, "sv")})
    os.chdir(directory)
    begin, cpu = time.perf_counter(), cpu_seconds()
    stage.run(params)
    seconds = time.perf_counter() - begin
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    sender.send(
        {
            "seconds": round(seconds, 3),
            "cpu_seconds": round(cpu_seconds() - cpu, 3),
            "processes": stage.processes_for(sorted(included.include)),
            "peak_megabytes": round(max(usage.ru_maxrss for usage in usages) / 1024, 1),
        }
    )


def cpu_seconds() -> float:
    """Returns the processor time of this process and of those it has ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def write_raw(raw: Path, factor: float) -> int:
    """Writes rows in native layouts; returns how many."""
    words = Words()
    rows = 0
    for code, (name, count) in EXAMS.items():
        rows += write_lines(
            raw / "exams" / code / "train.jsonl", exam_rows(words, name, round(factor * count))
        )
    rows += write_lines(
        raw / "arc_challenge/ARC-Challenge-Train.jsonl",
        exam_rows(words, None, round(factor * ARC_ROWS)),
    )
    rows += write_lines(
        raw / "swefaq/swefaq_train.jsonl", swefaq_rows(words, round(factor * SWEFAQ_ROWS))
    )
    return rows


def write_lines(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    """Writes JSON lines; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return len(lines)


class Words:
    """Random texts."""

    def __init__(self) -> None:
        """Draws a vocabulary."""
        self.draw = generator(1, "benchmark", "mcqa")
        letters = list(_ALPHABET)
        self._vocabulary = [
            "".join(self.draw.choice(letters, self.draw.integers(2, 11))) for _ in range(5000)
        ]

    def text(self, mean: float) -> str:
        """Returns a text of some words, ``mean`` on average; the numbers vary as real ones do."""
        count = 1 + int(self.draw.gamma(2, (mean - 1) / 2))
        return " ".join(self._vocabulary[n] for n in self.draw.integers(0, 5000, count))

    def options(self, count: int, mean: float) -> list[str]:
        """Returns different texts."""
        return [f"{self.text(mean)} {number}" for number in range(count)]


def exam_rows(words: Words, language: str | None, count: int) -> Iterator[dict[str, Any]]:
    """Yields rows as EXAMS has them, without ``info`` as ARC's release does."""
    for number in range(count):
        size = int(words.draw.choice([3, 4, 5], p=[0.1, 0.85, 0.05]))
        row: dict[str, Any] = {
            "id": str(number),
            "question": {
                "stem": f"{words.text(15)} {number}?",
                "choices": [
                    {"text": text, "label": label}
                    for text, label in zip(words.options(size, 4), "ABCDE", strict=False)
                ],
            },
            "answerKey": "ABCDE"[int(words.draw.integers(size))],
        }
        info = {"grade": 10, "subject": "Biology", "language": language}
        yield row | ({"info": info} if language else {})


def swefaq_rows(words: Words, count: int) -> Iterator[dict[str, Any]]:
    """Yields rows of SweFAQ: many long candidates."""
    for number in range(count):
        size = int(words.draw.integers(4, 23))
        yield {
            "category_id": number,
            "question": f"{words.text(10)} {number}?",
            "candidate_answers": words.options(size, 80),
            "label": int(words.draw.integers(size)),
            "meta": {},
        }


def cpu_name() -> str:
    """Returns the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main()
