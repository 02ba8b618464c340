"""The comparison of logits, and the sequences it is made on."""

from pathlib import Path

import pytest
import torch

from minilingua.conversion.parity import check_greedy, compare_logits
from minilingua.conversion.probes import TEXTS, probe_sequences
from minilingua.core.errors import ParityError
from minilingua.core.languages import LANGUAGES

from .conftest import VOCAB_SIZE, write_tokenizer

PROBES = {"first": [1, 2], "second": [3, 4, 5]}


def logits() -> list[torch.Tensor]:
    return [torch.zeros(2, 7), torch.zeros(3, 7)]


def test_the_largest_difference_is_returned() -> None:
    other = logits()
    other[0][1, 2] = 0.25
    other[1][0, 6] = -0.5
    assert compare_logits(PROBES, logits(), other, tolerance=0.5) == {"first": 0.25, "second": 0.5}


def test_a_difference_names_probe_and_position() -> None:
    other = logits()
    other[1][2, 3] = 1e-3
    with pytest.raises(ParityError, match=r"by 0\.001 .* 'second' at position 2; .* is 0\.0001"):
        compare_logits(PROBES, logits(), other, tolerance=1e-4)


def test_what_is_not_a_number_fails() -> None:
    other = logits()
    other[0][0, 0] = float("nan")
    with pytest.raises(ParityError, match="differ by nan"):
        compare_logits(PROBES, logits(), other, tolerance=1e9)


def test_another_vocabulary_fails() -> None:
    with pytest.raises(ParityError, match=r"shape \[2, 8\] in the export, \[2, 7\] in Megatron"):
        compare_logits(PROBES, logits(), [torch.zeros(2, 8), torch.zeros(3, 7)], tolerance=1.0)


def test_what_was_written_has_to_be_the_likeliest() -> None:
    logits = torch.zeros(4, 7)
    logits[1, 5] = logits[2, 6] = logits[3, 0] = 2.0
    check_greedy("en", [1, 2], [5, 6], logits, tolerance=1e-4)
    with pytest.raises(ParityError, match=r"'en' .* token 4 at place 2 where Megatron prefers 6"):
        check_greedy("en", [1, 2], [5, 4], logits, tolerance=1e-4)
    logits[2, 4] = 2.0 - 1e-5  # a draw, as far as two implementations can tell
    check_greedy("en", [1, 2], [5, 4], logits, tolerance=1e-4)
    logits[2, 4] = float("nan")
    with pytest.raises(ParityError):
        check_greedy("en", [1, 2], [5, 4], logits, tolerance=1e-4)


def test_probes_reach_every_language_and_the_whole_vocabulary(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    assert set(TEXTS) == set(LANGUAGES)
    probes = probe_sequences(tmp_path / "tokenizer.json", VOCAB_SIZE, max_positions=40)
    assert set(LANGUAGES) < set(probes)
    assert all(0 < len(ids) <= 40 for ids in probes.values())
    assert all(0 <= token < VOCAB_SIZE for ids in probes.values() for token in ids)
    long = probe_sequences(tmp_path / "tokenizer.json", VOCAB_SIZE, max_positions=4096)
    walked = {token for name, ids in long.items() if name not in TEXTS for token in ids}
    assert len(walked) > 0.9 * VOCAB_SIZE
    assert long == probe_sequences(tmp_path / "tokenizer.json", VOCAB_SIZE, max_positions=4096)
