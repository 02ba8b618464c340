"""The stage ``convert``: the trained weights as a Hugging Face model, if they pass the gate.

    models/megatron ─► tensors accounted for, finite ─► renamed and split ─► models/hf
                                     └─► logits ──── equal? ──── logits ◄─┘ loaded back

Everything is written beside ``models/hf`` and takes its place at the very end.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from minilingua.conversion.export import (
    copy_tokenizer,
    model_config,
    write_configs,
)
from minilingua.conversion.parity import check_finite, compare_logits, hugging_face_logits
from minilingua.conversion.probes import probe_sequences
from minilingua.conversion.trained import TrainedModel, load_tensors, read_trained
from minilingua.core.errors import CheckpointError
from minilingua.core.files import read_json, staged_directory, tree_digest, write_json
from minilingua.core.tokenizer_files import read_tokenizer_files
from minilingua.core.weights_file import save_weights
from minilingua.llama_shapes import tensor_shapes
from minilingua.megatron_model.logits import compute_logits
from minilingua.megatron_model.weight_map import check_shapes, megatron_to_hf
from minilingua.params import Params

MEGATRON = Path("models/megatron")
BASE = Path("models/base")
TOKENIZER = Path("models/tokenizer")
OUTPUT = Path("models/hf")


def run(params: Params) -> None:
    """Exports ``models/megatron`` as ``models/hf``.

    Raises:
        MissingInputError: an output of an earlier stage is missing; the message names the stage.
        CheckpointError: weights are missing, unknown, of another shape or not finite, or the
            training was made with another base or tokenizer.
        ParityError: the export computes other logits than Megatron. Nothing is exported.
    """
    trained = read_trained(MEGATRON)
    base_config = read_json(BASE / "config.json", "minilingua base")
    ids = read_tokenizer_files(TOKENIZER).special_token_ids()
    digests = {str(path): tree_digest(path) for path in (BASE, MEGATRON, TOKENIZER)}
    if digests[str(TOKENIZER)] != trained.tokenizer_digest:
        raise CheckpointError(
            f"{MEGATRON} was trained on tokens of another tokenizer than {TOKENIZER}; "
            "run `dvc repro train`"
        )
    config = model_config(base_config, trained.model, ids, params.convert.dtype)
    dtype: torch.dtype = getattr(torch, params.convert.dtype)
    stored = {name: tensor.to(dtype) for name, tensor in load_tensors(MEGATRON).items()}
    check_finite(stored, str(MEGATRON))
    exported = megatron_to_hf(stored, trained.model)
    check_shapes(exported, tensor_shapes(trained.model, config["vocab_size"]), "export")

    generation = BASE / "generation_config.json"
    with staged_directory(OUTPUT) as aside:
        save_weights(aside / "model.safetensors", exported, save_file)
        write_configs(aside, config, read_json(generation) if generation.exists() else {}, ids)
        copy_tokenizer(TOKENIZER, aside)
        write_json(aside / "minilingua.json", _provenance(trained, params, digests))
        difference = _gate(aside, stored, trained, params.convert.parity_tolerance)
    print(  # noqa: T201 - the stage's report
        f"{OUTPUT}: step {trained.selected_step}; logits differ from Megatron's by at most "
        f"{difference:.2g} (tolerance {params.convert.parity_tolerance:g})"
    )


def _gate(
    exported: Path, stored: dict[str, Tensor], trained: TrainedModel, tolerance: float
) -> float:
    """Returns the largest difference of logits between Megatron and the export, both in fp32."""
    probes = probe_sequences(
        exported / "tokenizer.json", trained.vocab_size, trained.model.max_positions
    )
    sequences = list(probes.values())
    in_fp32 = {name: tensor.float() for name, tensor in stored.items()}
    return compare_logits(
        probes,
        compute_logits(in_fp32, trained.model, sequences),
        hugging_face_logits(exported, sequences),
        tolerance,
    )


def _provenance(trained: TrainedModel, params: Params, digests: dict[str, str]) -> dict[str, Any]:
    """Returns what is known of the export; the whole story is the passport of a release."""
    return {
        "architecture": "LlamaForCausalLM",
        "dtype": params.convert.dtype,
        "model": trained.model.model_dump(mode="json"),
        "vocab_size": trained.vocab_size,
        "selected_step": trained.selected_step,
        "validation_loss": trained.validation_loss,
        "inputs": digests,
    }
