"""The gate of an export: does it compute what the trained model computes?

Both models run in fp32 on the weights that the export holds: where it is stored in bfloat16, the
Megatron side is given the rounded weights too. What remains is the difference of two
implementations, which must stay under the tolerance.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from minilingua.core.errors import CheckpointError, ParityError


def check_finite(tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuses weights with NaN or infinity.

    Raises:
        CheckpointError: a tensor is not finite; the message begins with ``what``.
    """
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{what}: {name} holds values that are not finite")


def hugging_face_logits(path: Path, token_ids: Sequence[Sequence[int]]) -> list[Tensor]:
    """Returns the fp32 logits [t, V] of each sequence from a directory in Hugging Face layout.

    Raises:
        CheckpointError: transformers finds tensors missing or unknown.
    """
    # The model module, not the package's Auto classes: they import every architecture.
    from transformers.models.llama import LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # a bar of milliseconds
    model, loading = LlamaForCausalLM.from_pretrained(
        path, dtype=torch.float32, local_files_only=True, output_loading_info=True
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(map(str, loading.get(problem) or ())):
            raise CheckpointError(
                f"the export loads with {problem.replace('_', ' ')}: {', '.join(names[:3])}"
            )
    model.eval()
    with torch.inference_mode():
        return [model(input_ids=torch.tensor([ids])).logits[0] for ids in token_ids]


def compare_logits(
    probes: Mapping[str, Sequence[int]],
    trained: Sequence[Tensor],
    exported: Sequence[Tensor],
    tolerance: float,
) -> float:
    """Returns the largest absolute difference over all probes.

    Args:
        probes: name ─► token ids, in the order of the logits.
        trained: logits [t, V] of each probe from Megatron.
        exported: the same from the export.
        tolerance: largest difference that passes.

    Raises:
        ParityError: a difference exceeds the tolerance or is not a number; the message names
            probe, position and size.
    """
    largest = 0.0
    for name, ours, theirs in zip(probes, trained, exported, strict=True):
        if ours.shape != theirs.shape:
            raise ParityError(
                f"logits of probe {name!r} have shape {list(theirs.shape)} in the export, "
                f"{list(ours.shape)} in Megatron; nothing was exported"
            )
        by_position = (ours - theirs).abs().amax(dim=1)
        difference = float(by_position.max())
        if not difference <= tolerance:  # NaN fails as well
            raise ParityError(
                f"logits of the export differ by {difference:.3g} from Megatron's on probe "
                f"{name!r} at position {int(by_position.argmax())}; convert.parity_tolerance is "
                f"{tolerance:g}; nothing was exported"
            )
        largest = max(largest, difference)
    return largest
