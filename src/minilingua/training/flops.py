"""Floating-point operations of a training step, and what a device can do at most.

Counted is what the step has to compute, forward and backward (three times forward):

    matrices     6 x weights x the rows that go through them; the last layer's feed-forward and the
                 output layer see target rows only (``LastLayer``), all others every token
    attention    6 x hidden size x layers x sum of squared document lengths: scores and values are
                 two products of 2 x length^2 x hidden operations, of which causality needs half

Recomputation is not counted, and the sum of squares is over documents, not packs: a pack of 2048
tokens in 13 documents has a thirteenth of the attention of one document.
"""

from dataclasses import dataclass

from minilingua.params import ModelParams

_PEAK_BF16 = {
    "H200 NVL": 835e12,
    "H200": 989e12,  # GH200 too
    "H100 PCIE": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "V100": 125e12,
}
"""Dense tensor-core operations a second (NVIDIA's data sheets; V100: fp16); first match counts."""
_OF_BF16 = {"bf16": 1.0, "fp8": 2.0}
"""Precision ─► times the operations of bf16, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepWork:
    """What a step's operations are counted from."""

    tokens: int
    """That go through the model."""
    targets: int
    """Supervised tokens."""
    squared_lengths: int
    """Sum of the squared document lengths."""


def step_flops(model: ModelParams, vocab_size: int, work: StepWork) -> float:
    """Returns the operations of forward and backward pass."""
    hidden, layers = model.hidden_size, model.layers
    key_value = hidden // model.attention_heads * model.kv_groups
    attention = 2 * hidden * hidden + 2 * hidden * key_value
    feed_forward = 3 * hidden * model.ffn_hidden_size
    through_all = (layers * attention + (layers - 1) * feed_forward) * work.tokens
    through_targets = (feed_forward + hidden * vocab_size) * work.targets
    scores = hidden * layers * work.squared_lengths
    return 6.0 * (through_all + through_targets + scores)


def peak_flops(device: str, precision: str) -> float | None:
    """Returns the operations a second that a device is made for, or None if it is not known.

    Args:
        device: name as torch gives it.
        precision: ``bf16``, of which ``fp8`` is the double; nothing is known of others.
    """
    if precision not in _OF_BF16:
        return None
    name = device.upper()
    factor = _OF_BF16[precision]
    return next((factor * peak for known, peak in _PEAK_BF16.items() if known in name), None)
