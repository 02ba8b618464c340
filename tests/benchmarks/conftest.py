"""A small line for all benchmarks to read, and none of their effects on this process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import (
    checkpoint,
    command_line,
    conversion,
    data_stages,
    generation,
    tokenization,
    tracking,
    training_step,
    training_waits,
)
from benchmarks.line import compose, line
from minilingua.megatron_model.parallel import one_rank


@pytest.fixture(scope="package")
def ready() -> Iterator[Path]:
    """Where the data stages have run, for two languages."""
    params = compose(
        [
            "experiment=smoke",
            "languages=[en,fi]",
            "sources.include=[bactrian_x,include]",
            "tokenizer.vocab_size=512",
            "pack.global_batch=512",
            "pack.epochs=8.0",
        ]
    )
    with line(params) as made:
        yield made.path


@pytest.fixture(scope="package", autouse=True)
def _one_rank() -> Iterator[None]:
    with one_rank():
        yield


@pytest.fixture(autouse=True)
def _no_effects(monkeypatch: pytest.MonkeyPatch) -> None:
    """``begin`` holds a process to its cores for good."""

    def begin(threads: int) -> dict[str, Any]:
        return {"threads": min(threads, 1), "load_average_before": 0.0}

    for module in (
        checkpoint, command_line, conversion, data_stages, generation, tokenization, tracking,
        training_step, training_waits,
    ):  # fmt: skip
        monkeypatch.setattr(module, "begin", begin)
    monkeypatch.setenv("RAYON_NUM_THREADS", "1")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "true")
    monkeypatch.setenv("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
