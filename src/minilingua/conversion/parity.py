"""Comparing two implementations of one model: their logits, and what they would write."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from minilingua.core.errors import ParityError


def compare_logits(
    probes: Mapping[str, Sequence[int]],
    trained: Sequence[Tensor],
    exported: Sequence[Tensor],
    tolerance: float,
) -> dict[str, float]:
    """Returns the largest absolute difference of each probe.

    Args:
        probes: name ─► token ids, in the order of the logits.
        trained: logits [t, V] of each probe from Megatron.
        exported: the same from the export.
        tolerance: largest difference that passes.

    Raises:
        ParityError: a difference exceeds the tolerance or is not a number; the message names
            probe, position and size.
    """
    differences: dict[str, float] = {}
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
        differences[name] = difference
    return differences


def check_greedy(
    name: str, prompt: Sequence[int], written: Sequence[int], logits: Tensor, tolerance: float
) -> None:
    """Makes sure that Megatron would have written what the export wrote.

    Greedy generation is the sequence whose every token is the likeliest one after those before it,
    so one forward pass over it all decides. Two tokens whose logits lie closer than what the two
    implementations may differ by are both the likeliest.

    Args:
        name: of the prompt, for messages.
        prompt: token ids.
        written: [n] token ids that the export generated.
        logits: [p + n, V] Megatron's, of prompt and written.
        tolerance: largest difference of logits that passes.

    Raises:
        ParityError: a token is not the likeliest one.
    """
    for number, token in enumerate(written):
        predicting = logits[len(prompt) + number - 1]
        behind = float(predicting.max() - predicting[token])
        if not behind <= 2 * tolerance:
            raise ParityError(
                f"on the prompt {name!r} the export generates token {token} at place {number + 1} "
                f"where Megatron prefers {int(predicting.argmax())} by {behind:.3g}; "
                "nothing was exported"
            )
