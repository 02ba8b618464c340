"""Token files of random conversations with realistic lengths, and parameters for the stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from minilingua.core.languages import LANGUAGES
from minilingua.core.records import SPLITS
from minilingua.core.seeding import content_id
from minilingua.core.tokens import TextCounts, TokenizedConversation, write_token_file
from minilingua.packing.corpus import Ints
from minilingua.params import MixtureParams, PackParams, Params
from minilingua.params_file import load_params

_REPOSITORY = Path(__file__).parents[2]


def realistic_lengths(count: int, seed: int, longest: int = 1024) -> Ints:
    """Log-normal, as instruction data are: a median of 60 tokens, a mean of 90, a long tail."""
    draw = np.random.Generator(np.random.PCG64(seed)).lognormal(np.log(60), 0.9, count)
    return np.clip(draw.astype(np.int64), 4, longest)


SOURCES = ("aya", "exams", "alpaca")


def write_tokens(
    path: Path, lengths: Sequence[int], name: str = "", tokenizer_digest: str = "t"
) -> None:
    """A third of each conversation, at least one token, is supervised.

    Sources take turns, one of them with every fourth conversation, the next with every third of
    the rest. A word has two tokens.
    """

    def conversations() -> list[TokenizedConversation]:
        made = []
        for row, length in enumerate(lengths):
            mask = np.zeros(length, dtype=np.uint8)
            mask[-max(1, length // 3) :] = 1
            tokens = np.full(length, row % 1000, dtype=np.uint32)
            identity = content_id(f"{name}/{row}")
            source = source_of(row)
            count = counts.setdefault(source, TextCounts())
            count.words += length // 2
            count.text_tokens += length
            count.truncated += row % 10 == 0
            made.append(
                TokenizedConversation(id=identity, tokens=tokens, loss_mask=mask, source=source)
            )
        return made

    counts: dict[str, TextCounts] = {}
    write_token_file(
        path, conversations(), vocab_size=1000, tokenizer_digest=tokenizer_digest, counts=counts
    )


def source_of(row: int) -> str:
    return SOURCES[0] if row % 4 == 0 else SOURCES[1 if row % 3 == 0 else 2]


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with data/tokens of all languages, of different sizes; read only."""
    root = tmp_path_factory.mktemp("tokens")
    for split_number, split in enumerate(SPLITS):
        for number, language in enumerate(LANGUAGES):
            count = (100 + 20 * number) if split == "train" else 25
            lengths = realistic_lengths(count, 100 * split_number + number)
            write_tokens(root / "data/tokens" / split / language, lengths.tolist(), language)
    return root


@pytest.fixture
def params() -> Params:
    """Parameters of which the sections of this stage do not depend on params.yaml."""
    return load_params(_REPOSITORY / "params.yaml").model_copy(
        update={
            "seed": 11,
            "languages": tuple(LANGUAGES),
            "mixture": MixtureParams(
                name="natural", unit="conversations", weights=None, sources=None, max_epochs=None
            ),
            "pack": PackParams(
                sequence_length=1024, global_batch=4096, global_batch_unit="tokens", epochs=2.0
            ),
        }
    )


def with_pack(params: Params, **changes: object) -> Params:
    return params.model_copy(update={"pack": params.pack.model_copy(update=changes)})


def with_mixture(
    params: Params,
    unit: str,
    weights: Mapping[str, float] | None,
    sources: Mapping[str, float] | None = None,
    max_epochs: float | None = None,
) -> Params:
    return params.model_copy(update={"mixture": mixture(unit, weights, sources, max_epochs)})


def mixture(
    unit: str,
    weights: Mapping[str, float] | None,
    sources: Mapping[str, float] | None = None,
    max_epochs: float | None = None,
) -> MixtureParams:
    return MixtureParams.model_validate(
        {
            "name": "tested",
            "unit": unit,
            "weights": None if weights is None else dict(weights),
            "sources": None if sources is None else dict(sources),
            "max_epochs": max_epochs,
        }
    )
