"""Claim: the schedule of the published run's data is planned in seconds, and its packs are full.

    python benchmarks/packing.py            # about a minute; needs 1.3 GB of disk for a while
    python benchmarks/packing.py --help

Two measurements, on conversations as many and as long as those of the published run (facts of its
token counts: 14 languages, 158 tokens a conversation with a long tail):

1. the whole stage ``pack`` in a process of its own, from token files to plan, ledger and picture;
2. its packing beside next-fit and first-fit, the two that are written in a minute, on equal input.

Lengths are log-normal in each language, cut off at the sequence length. Tokens are zeros: the stage
reads their number, and their loss mask.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minilingua.configure import compose_params
from minilingua.core.records import SPLITS
from minilingua.core.seeding import generator
from minilingua.core.tokens import TokenizedConversation, write_token_file
from minilingua.packing import stage
from minilingua.packing.schedule import steps_of_packs
from minilingua.params import Params

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/packing.json"
SEQUENCE_LENGTH = 2048
BATCH_PACKS = 64
PUBLISHED = {
    "en": (297_867, 46_917_110), "de": (97_436, 18_430_053), "es": (82_948, 10_169_352),
    "fr": (89_486, 16_383_849), "it": (82_851, 10_802_143), "pt": (80_829, 10_440_827),
    "nl": (80_138, 10_561_821), "pl": (82_404, 11_159_552), "cs": (95_055, 14_827_467),
    "bg": (82_777, 12_969_067), "el": (67_202, 9_814_653), "fi": (99_219, 13_890_394),
    "sv": (78_149, 9_650_563), "code": (50_644, 20_788_916),
}  # fmt: skip
"""Language ─► conversations and tokens that the published run was trained on."""
_SPREAD = 0.96  # of the logarithm of a length: instruction data have medians far below their means
_SHORTEST = 8

Ints = npt.NDArray[np.int64]


def main() -> None:
    """Measures, prints a table and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the published run's conversations (default: 1)"
    )
    parser.add_argument(
        "--naive", type=int, default=20_000, help="conversations of the comparison with first-fit"
    )
    parser.add_argument("--repetitions", type=int, default=3, help="of the comparisons")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the JSON goes")
    arguments = parser.parse_args()
    languages = {
        code: language_lengths(code, max(1, round(arguments.share * count)), tokens / count)
        for code, (count, tokens) in PUBLISHED.items()
    }
    everything = np.concatenate(list(languages.values()))
    everything = everything[generator(1, "benchmark", "order").permutation(len(everything))]
    results = {
        "machine": {
            "cpu": cpu_name(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "numpy": np.__version__,
        },
        "data": {
            "conversations": len(everything),
            "tokens": int(everything.sum()),
            "mean_tokens": round(float(everything.mean()), 1),
            "median_tokens": float(np.median(everything)),
            "p99_tokens": float(np.percentile(everything, 99)),
            "sequence_length": SEQUENCE_LENGTH,
        },
        "stage": measure_stage(languages),
        "all_conversations": compare(
            {"best fit (ours)": ours, "next fit": next_fit}, everything, arguments.repetitions
        ),
        "some_conversations": compare(
            {"best fit (ours)": ours, "next fit": next_fit, "first fit": first_fit},
            everything[: arguments.naive],
            arguments.repetitions,
        ),
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))


def language_lengths(code: str, count: int, mean: float) -> Ints:
    """Returns lengths of conversations with about the given mean, cut off at a pack."""
    normal = generator(1, "benchmark", code).standard_normal(count)
    low, high = 0.0, np.log(SEQUENCE_LENGTH)
    for _ in range(40):  # the location that gives the mean after cutting off
        middle = (low + high) / 2
        lengths = np.clip(np.exp(middle + _SPREAD * normal), _SHORTEST, SEQUENCE_LENGTH)
        low, high = (middle, high) if lengths.mean() < mean else (low, middle)
    return np.asarray(lengths, dtype=np.int64)


def measure_stage(languages: dict[str, Ints]) -> dict[str, float]:
    """Runs the stage in a new process on token files; seconds without imports, peak memory."""
    with tempfile.TemporaryDirectory() as directory:
        for split in SPLITS:
            for code, lengths in languages.items():
                held_out = lengths if split == "train" else lengths[: max(1, len(lengths) // 50)]
                write_token_file(
                    Path(directory) / "data/tokens" / split / code,
                    conversations(held_out),
                    vocab_size=128_000,
                    tokenizer_digest="benchmark",
                )
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=run_stage, args=(directory, sender))
        process.start()
        sender.close()
        measured: dict[str, float] = receiver.recv()
        process.join()
        return measured


def conversations(lengths: Ints) -> Iterator[TokenizedConversation]:
    """Yields conversations of zeros, a quarter of each supervised."""
    tokens = np.zeros(SEQUENCE_LENGTH, dtype=np.uint32)
    for row, length in enumerate(lengths.tolist()):
        mask = np.zeros(length, dtype=np.uint8)
        mask[-max(1, length // 4) :] = 1
        yield TokenizedConversation(
            id=f"{row:016x}", tokens=tokens[:length], loss_mask=mask, source="benchmark"
        )


def run_stage(directory: str, sender: Any) -> None:
    """Runs the stage in ``directory`` and sends what it took."""
    parameters = stage_params()
    os.chdir(directory)
    before = peak_megabytes()
    begin = time.perf_counter()
    stage.run(parameters)
    seconds = time.perf_counter() - begin
    figures = json.loads((stage.OUTPUT / "plan.json").read_text())["figures"]["train"]
    sender.send(
        {
            "seconds": round(seconds, 2),
            "peak_megabytes": round(peak_megabytes()),
            "peak_megabytes_before": round(before),
            "packs": figures["packs"],
            "steps": figures["steps"],
            "fill": figures["fill"],
        }
    )


def stage_params() -> Params:
    """Returns the parameters of one epoch of the published run's default mixture, packed."""
    params = compose_params(["mixture=train_balanced"], ROOT / "conf")
    pack = params.pack.model_copy(
        update={
            "sequence_length": SEQUENCE_LENGTH,
            "global_batch": BATCH_PACKS * SEQUENCE_LENGTH,
            "epochs": 1.0,
        }
    )
    return params.model_copy(update={"pack": pack})


def peak_megabytes() -> float:
    """Returns the peak resident memory of this process, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


Packer = Callable[[Ints], int]
"""Lengths ─► packs used."""


def ours(lengths: Ints) -> int:
    """Best-fit-decreasing in windows that keep the order of the mixture, as the stage packs."""
    schedule = steps_of_packs(lengths, capacity=SEQUENCE_LENGTH, batch=BATCH_PACKS, seed=1)
    left = int(lengths[schedule.left_out].sum())
    return len(schedule.pack_offsets) - 1 + -(-left // SEQUENCE_LENGTH)


def next_fit(lengths: Ints) -> int:
    """Closes a pack as soon as the next conversation does not fit."""
    packs, room = 0, 0
    for length in lengths.tolist():
        if length > room:
            packs, room = packs + 1, SEQUENCE_LENGTH
        room -= length
    return packs


def first_fit(lengths: Ints) -> int:
    """Puts every conversation into the first pack with room, looking at all of them."""
    rooms: list[int] = []
    for length in lengths.tolist():
        for pack, room in enumerate(rooms):
            if room >= length:
                rooms[pack] -= length
                break
        else:
            rooms.append(SEQUENCE_LENGTH - length)
    return len(rooms)


def compare(
    packers: dict[str, Packer], lengths: Ints, repetitions: int
) -> dict[str, dict[str, float]]:
    """Runs all packers in turn, several times; the least seconds of each."""
    seconds: dict[str, list[float]] = {name: [] for name in packers}
    packs: dict[str, int] = {}
    for _ in range(repetitions):
        for name, packer in packers.items():
            begin = time.perf_counter()
            packs[name] = packer(lengths)
            seconds[name].append(time.perf_counter() - begin)
    return {
        name: {
            "conversations": len(lengths),
            "seconds": round(min(seconds[name]), 4),
            "packs": packs[name],
            "fill": round(float(lengths.sum()) / (packs[name] * SEQUENCE_LENGTH), 6),
            "times_the_fewest_packs": round(
                packs[name] / -(-int(lengths.sum()) // SEQUENCE_LENGTH), 4
            ),
        }
        for name in packers
    }


def cpu_name() -> str:
    """Returns the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def table(results: dict[str, Any]) -> str:
    """Returns the results for people."""
    data, measured = results["data"], results["stage"]
    told = (
        f"{data['conversations']:,} conversations, {data['tokens']:,} tokens, "
        f"{data['mean_tokens']} a conversation (median {data['median_tokens']:.0f}, "
        f"99 % below {data['p99_tokens']:.0f})"
    )
    took = (
        f"stage pack: {measured['seconds']:.1f} s, peak {measured['peak_megabytes']:,} MB "
        f"({measured['peak_megabytes_before']:,} MB before it began), "
        f"{measured['packs']:,} packs {measured['fill']:.2%} full, {measured['steps']:,} steps"
    )
    head = "packing            conversations   seconds     fill   packs (fewest possible: 1)"
    lines = [told, took, "", head]
    sections: Sequence[dict[str, dict[str, float]]] = (
        results["all_conversations"],
        results["some_conversations"],
    )
    for section in sections:
        for name, row in section.items():
            lines.append(
                f"{name:<18} {row['conversations']:>13,} {row['seconds']:>9.3f} "
                f"{row['fill']:>8.2%}   {row['times_the_fewest_packs']:.4f}"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
