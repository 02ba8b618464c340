"""Sections of mixture, schedule and training."""

from typing import Annotated, Literal

from pydantic import Field

from minilingua.params.section import (
    Count,
    LanguageCode,
    Section,
    Share,
    Weight,
)


class MixtureParams(Section):
    """How often each language is seen."""

    name: str
    """Name of the mixture, for people."""
    unit: Literal["conversations", "tokens", "supervised_tokens"]
    """What the weights are shares of."""
    weights: dict[LanguageCode, Weight] | None
    """Relative weight of each language, normalised; null: every conversation once an epoch."""
    sources: dict[str, Weight] | None
    """Relative weight of each source within a language, normalised over those that the language
    has; sources without a weight are left out; null: all conversations of a language are alike."""
    max_epochs: Annotated[float, Field(gt=0)] | None
    """Passes over its conversations that a language makes at most, with sources also each of its
    sources; the others get what is left over in their proportions. null: no limit."""


class PackParams(Section):
    """The schedule: packs, global batch, length of the run."""

    sequence_length: Count
    """Tokens a pack holds at most; longer conversations are dropped and counted, unless
    tokenize.truncate_to has cut them before."""
    global_batch: Count
    """Size of one optimizer step, in global_batch_unit."""
    global_batch_unit: Literal["conversations", "tokens"]
    """256 conversations are about 41k tokens, 256 packs of 2048 are 524k: not the same run."""
    epochs: Annotated[float, Field(gt=0)]
    """Length of the whole schedule in passes over the training split; early stopping may cut it."""


class EarlyStoppingParams(Section):
    """When to stop before the plan ends."""

    enabled: bool
    """Stop by the validation loss; otherwise decisions are recorded but never stop."""
    patience: Count
    """Evaluations in a row without improvement that end the training."""
    min_delta: Annotated[float, Field(ge=0)]
    """Least decrease of the validation loss (nats) that counts as an improvement."""
    warmup_steps: Annotated[int, Field(ge=0)]
    """Evaluations up to this step are not counted by patience."""
    standard_errors: Annotated[float, Field(ge=0)]
    """Standard errors of the loss that an improvement has to exceed beside min_delta."""
    language_bound: Annotated[float, Field(ge=0)] | None
    """A language whose loss is above its own lowest by more (nats) is recorded as worse."""
    language_stop: bool
    """Evaluations in a row with a worse language end the training too, after patience of them."""


class SpikeParams(Section):
    """What is done about losses that jump."""

    threshold: Annotated[float, Field(gt=0)] | None
    """A loss above the median of those before by more (nats) is a spike; null: none is."""
    window: Count
    """Steps before that the median is of."""
    patience: Count
    """Spikes in a row that end the training; the last state from before them is kept."""


class ParallelParams(Section):
    """How the ranks (processes) share a training.

    A matter of speed and memory: losses are the same but for rounding, and a training goes on in
    another layout.
    """

    tensor: Count
    """Ranks that share each layer's matrices; divides heads and key-value groups."""
    sequence: bool
    """Tensor-parallel ranks also share what lies between the matrices, by rows."""
    pipeline: Count
    """Stages, each with an equal share of the layers."""
    context: Count
    """Ranks that share each conversation: for long ones."""
    distributed_optimizer: bool
    """Data-parallel ranks share the optimizer's state instead of each holding it whole."""
    fully_sharded: bool
    """Data-parallel ranks share weights and gradients as well (FSDP): less memory, more traffic."""
    overlap: bool
    """Exchange gradients, and the weights of a distributed optimizer, while computing."""


class TrainParams(Section):
    """Optimizer, schedule, evaluation and execution profile of the training."""

    learning_rate_schedule: Literal["constant", "linear", "cosine", "wsd"]
    """Course of the learning rate after the warm-up; wsd stays at lr and falls at the end."""
    lr: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    min_lr: Annotated[float, Field(ge=0)]
    """Learning rate at the end of a decaying schedule."""
    warmup_steps: Annotated[int, Field(ge=0)]
    """Steps of linear warm-up from zero."""
    decay_steps: Count
    """Last steps of the plan, over which schedule wsd falls to min_lr linearly; for wsd only."""
    adam_beta1: Share
    """AdamW, first moment."""
    adam_beta2: Share
    """AdamW, second moment."""
    adam_epsilon: Annotated[float, Field(gt=0)]
    """AdamW, epsilon."""
    weight_decay: Annotated[float, Field(ge=0)]
    """Decoupled weight decay; not applied to norms."""
    clip_grad: Annotated[float, Field(gt=0)]
    """Largest global gradient norm."""
    hidden_dropout: Share
    """Dropout on the residual stream."""
    attention_dropout: Share
    """Dropout on attention probabilities."""
    micro_batch: Count
    """Packs joined in one forward and backward call; changes speed and memory, not the loss."""
    eval_interval: Count
    """Optimizer steps between evaluations."""
    save_interval: Count
    """Optimizer steps between checkpoints for resuming."""
    keep_checkpoints: Count
    """Checkpoints for resuming that are kept beside the best one."""
    early_stopping: EarlyStoppingParams
    """When to stop before the plan ends."""
    spikes: SpikeParams
    """What is done about losses that jump."""
    precision: Literal["fp32", "bf16", "fp8"]
    """Arithmetic of the forward and backward pass; master weights are fp32. fp8: bf16, but for the
    products of the layers' matrices, which TransformerEngine does in 8 bits."""
    profile: Literal["bitwise", "fast"]
    """bitwise: the same bytes again on the same machine; fast: fused kernels on GPUs."""
    recompute: Literal["none", "selective", "full"]
    """Activations computed again in the backward pass, for memory: selective, those of the
    feed-forward layers; full, all but the layers' inputs. The numbers stay the same."""
    attention: Literal["auto", "te", "varlen", "sdpa"]
    """Attention backend; auto takes the best that is installed."""
    threads: Count
    """CPU threads of the math library; another number changes the last bits."""
    parallel: ParallelParams
    """How the ranks (processes) share the training; how many there are is a matter of the place."""
