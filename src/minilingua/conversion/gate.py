"""The gate of an export: does it compute, write and stop as the trained model does?

    export ─► transformers ─► logits of probes, greedy answers, stop after the end of turn
    source ─► Megatron ─────► logits of the same probes and answers ─► equal?

Both run in fp32 on the weights that the export holds: where it is stored in 16 bits, the Megatron
side is given the rounded weights too. What remains is the difference of two implementations, which
must stay under the tolerance. One model is in memory at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from minilingua.conversion.exported import ExportedModel
from minilingua.conversion.parity import check_greedy, compare_logits
from minilingua.conversion.probes import TEXTS, probe_sequences
from minilingua.conversion.shards import StoredTensors
from minilingua.megatron_model.logits import compute_logits
from minilingua.params import ConvertParams, ModelParams


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """What the gate found of an export that passed."""

    logits: dict[str, float]
    """Probe ─► largest absolute difference of logits."""
    generated: dict[str, int]
    """Language ─► tokens of the greedy answer, each the likeliest one for Megatron as well."""

    @property
    def largest(self) -> float:
        """Largest absolute difference of logits over all probes."""
        return max(self.logits.values())


def pass_gate(
    exported: Path,
    source: Mapping[str, Tensor],
    model: ModelParams,
    vocab_size: int,
    end_of_turn: int,
    convert: ConvertParams,
) -> GateReport:
    """Compares an export with the weights that it was made of.

    Args:
        exported: the export's directory.
        source: full, unpadded tensors by Megatron name.
        model: their shape.
        vocab_size: rows of the embedding.
        end_of_turn: id of the token that ends an assistant's turn.
        convert: type of the export, tolerance and length of the answers.

    Raises:
        CheckpointError: transformers finds tensors missing or unknown in the export.
        ParityError: it computes, generates or stops otherwise.
    """
    probes = probe_sequences(exported / "tokenizer.json", vocab_size, model.max_positions)
    theirs = ExportedModel(exported)
    room = model.max_positions - convert.greedy_tokens
    prompts = {language: theirs.prompt(text)[:room] for language, text in TEXTS.items()}
    generated = theirs.generate(list(prompts.values()), convert.greedy_tokens)
    written = dict(zip(prompts, generated, strict=True))
    theirs.check_stop(next(iter(prompts.values())), end_of_turn)
    exported_logits = theirs.logits(list(probes.values()))
    del theirs  # its weights, before Megatron's are loaded

    answers = [[*prompts[language], *written[language]] for language in prompts]
    stored = StoredTensors(source, getattr(torch, convert.dtype))
    logits = compute_logits(stored, model, [*probes.values(), *answers])
    differences = compare_logits(
        probes, logits[: len(probes)], exported_logits, convert.parity_tolerance
    )
    for language, found in zip(prompts, logits[len(probes) :], strict=True):
        check_greedy(
            language, prompts[language], written[language], found, convert.parity_tolerance
        )
    return GateReport(
        logits=differences, generated={language: len(ids) for language, ids in written.items()}
    )
