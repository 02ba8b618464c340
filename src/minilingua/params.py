"""params.yaml, typed: the only source of hyper-parameters, one model a section.

The docstring under each field is its description: ``minilingua configure`` writes it as the
comment above the key. What decides *where* a run executes (cluster, image) is not here.
"""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from minilingua.core.records import AnswerFormat

LanguageCode = Literal[
    "en", "de", "es", "fr", "it", "pt", "nl", "pl", "cs", "bg", "el", "fi", "sv", "code"
]
FilterName = Literal[
    "wrong_script", "refusal", "repetition", "translated_code", "markup_residue", "wrong_language"
]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Revision = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Weight = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """Strict: no unknown keys, no coercion, no NaN, immutable."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class SampleParams(Section):
    """Size of the generated sample."""

    facts: Count
    """True facts (CLDR) that the questions ask about; each recurs in many languages."""
    instruction_rows: Count
    """Instruction rows a language, over its instruction sources together."""
    mcqa_rows: Count
    """Multiple-choice rows a language, over its MCQA sources together."""
    code_rows: Count
    """Code instruction rows."""


class SourcesParams(Section):
    """Which raw data, and from where."""

    origin: Literal["sample", "mirror", "hub"]
    """sample: generated from CLDR facts; mirror: copied from a local directory; hub: downloaded
    from the Hugging Face hub at the revisions and checksums of sources.lock."""
    mirror: str | None
    """Directory with one folder a source in its native layout (`minilingua fetch --mirror` fills
    it): all sources for origin mirror, those that the hub does not have for origin hub."""
    include: tuple[str, ...] = Field(min_length=1)
    """Sources to read; `minilingua sources` lists all. licence and evaluation_sets may leave some
    of them out."""
    licence: Literal["permissive", "any"]
    """permissive: without sources whose licence forbids commercial use or does not say, for a model
    that is released; any: with them. The sample is generated, under one licence, and complete."""
    evaluation_sets: Literal["exclude", "include"]
    """exclude: without benchmarks and test splits, which should not be trained on; include: with
    them, as the reference was trained. The sample is generated and complete."""
    benchmarks: str | None
    """Directory of benchmarks, one file a set (jsonl, parquet, txt), which no training row may
    overlap; null: only the run's own validation and test are looked for."""
    sample: SampleParams
    """Size of the generated sample; for origin sample only."""

    @model_validator(mode="after")
    def _mirror_is_named(self) -> "SourcesParams":
        if self.origin == "mirror" and self.mirror is None:
            raise ValueError("mirror has to name a directory when origin is 'mirror'")
        if self.origin == "sample" and self.mirror is not None:
            raise ValueError(
                "mirror is for the origins 'mirror' and 'hub'; it is null for 'sample'"
            )
        return self

    @model_validator(mode="after")
    def _each_source_once(self) -> "SourcesParams":
        repeated = sorted({name for name in self.include if self.include.count(name) > 1})
        if repeated:
            raise ValueError(f"include names {', '.join(repeated)} twice")
        return self


class McqaParams(Section):
    """How multiple-choice items become conversations."""

    answer_formats: dict[AnswerFormat, Share]
    """Share of items answered by letter, by number and by full text; exact per language."""
    english_instructions: Share
    """Share of items whose instruction is English, the rest in the item's language; exact. The
    reference's README says 0.3, what it was trained on has 0.2."""
    shown_options: Annotated[int, Field(ge=2, le=26)]
    """Options shown: the correct one and sampled distractors; items with fewer show fewer."""

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> "McqaParams":
        if not math.isclose(sum(self.answer_formats.values()), 1, abs_tol=1e-9):
            raise ValueError(
                f"answer_formats sum to {sum(self.answer_formats.values()):g} instead of 1"
            )
        return self


class CurateParams(Section):
    """Filters, duplicates and the split."""

    max_characters: Count
    """Longer conversations are dropped."""
    filters: tuple[FilterName, ...]
    """Filters that look at content; a row is dropped under the first one that finds something."""
    prefer: tuple[str, ...]
    """Of equal rows that of the first of these sources stays; sources not named come last."""
    near_duplicates: Annotated[float, Field(ge=0.5, le=1)] | None
    """Least Jaccard similarity (runs of three words) of both prompts and answers at which a row is
    a near duplicate; null: only equal texts are duplicates."""
    validation: Share
    """Share of questions, by content hash, for validation loss and early stopping."""
    test: Share
    """Share of questions, by content hash, kept for the final evaluation."""
    minimum_test_mcqa: Annotated[int, Field(ge=0)]
    """Least multiple-choice questions a language in test, where the language has twice as many."""
    unseen_facts: Share
    """Share of facts, by hash, of which no wording in any language is trained on."""

    @model_validator(mode="after")
    def _something_is_left(self) -> "CurateParams":
        if self.validation + self.test >= 1:
            raise ValueError("validation and test leave nothing for training")
        return self


def _check_origin(section: "TokenizerParams | BaseParams") -> None:
    """Checks that just the keys of the origin are set."""
    if (section.origin in {"local", "gguf"}) != (section.path is not None):
        raise ValueError("path names a directory exactly when origin is 'local', or a file: 'gguf'")
    if (section.origin == "hub") != (section.hub is not None):
        raise ValueError("hub names a model exactly when origin is 'hub'")
    if section.revision is not None and section.origin != "hub":
        raise ValueError("revision is for origin 'hub' only")


class TokenizerParams(Section):
    """The tokenizer."""

    origin: Literal["train", "local", "gguf", "hub"]
    """train: SentencePiece BPE with byte fallback on the training split; local, gguf: from path;
    hub: downloaded from the Hugging Face hub."""
    path: str | None
    """For origin local a directory of a Hugging Face tokenizer with a chat template; for gguf a
    file, or package:NAME/FILE inside an installed package."""
    hub: str | None
    """Id of a model on the Hugging Face hub whose tokenizer it is; for origin hub only."""
    revision: Revision | None
    """Commit of hub, 40 hexadecimal digits; the stage names the current one where it is null."""
    vocab_size: Annotated[int, Field(ge=320)]
    """Size of the vocabulary, special and byte tokens included."""

    @model_validator(mode="after")
    def _keys_of_the_origin(self) -> "TokenizerParams":
        _check_origin(self)
        return self


class TokenizeParams(Section):
    """What becomes of conversations that are too long to train on."""

    truncate_to: Count | None
    """Tokens to which longer conversations are cut, at the end of their user turns and nowhere
    else; null: none is cut. What is longer than pack.sequence_length after that is dropped."""


class ModelParams(Section):
    """Shape of the model (Llama architecture: RMSNorm, SwiGLU, RoPE, no biases)."""

    name: str
    """Name of the preset, for people."""
    hidden_size: Count
    """Width of the residual stream."""
    ffn_hidden_size: Count
    """Width of the SwiGLU feed-forward."""
    layers: Count
    """Transformer layers."""
    attention_heads: Count
    """Query heads."""
    kv_groups: Count
    """Key-value heads (grouped-query attention)."""
    tied_embeddings: bool
    """The output layer shares the embedding matrix."""
    rope_base: Annotated[float, Field(gt=0)]
    """Base of the rotary position embedding."""
    norm_epsilon: Annotated[float, Field(gt=0)]
    """Epsilon of RMSNorm."""
    max_positions: Count
    """Longest sequence that the model declares to support."""

    @model_validator(mode="after")
    def _heads_divide(self) -> "ModelParams":
        if self.hidden_size % self.attention_heads or self.attention_heads % self.kv_groups:
            raise ValueError(
                f"hidden_size {self.hidden_size}, attention_heads {self.attention_heads} and "
                f"kv_groups {self.kv_groups} must divide one another"
            )
        return self


class BaseParams(Section):
    """Weights that fine-tuning starts from."""

    origin: Literal["random", "local", "gguf", "hub"]
    """random: seeded normal initialisation of model; local: a Hugging Face model from path; gguf:
    dequantized from path; hub: downloaded from the Hugging Face hub, safetensors only."""
    path: str | None
    """For origin local a directory of a Hugging Face Llama model; for gguf a file, or
    package:NAME/FILE inside an installed package."""
    hub: str | None
    """Id of a Llama model on the Hugging Face hub; for origin hub only."""
    revision: Revision | None
    """Commit of hub, 40 hexadecimal digits; the stage names the current one where it is null."""
    init_std: Annotated[float, Field(gt=0)]
    """Standard deviation of the random initialisation."""

    @model_validator(mode="after")
    def _keys_of_the_origin(self) -> "BaseParams":
        _check_origin(self)
        return self


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
    """Ranks that share each sequence; needs TransformerEngine."""
    distributed_optimizer: bool
    """Data-parallel ranks share the optimizer's state instead of each holding it whole."""
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
    precision: Literal["fp32", "bf16"]
    """Arithmetic of the forward and backward pass; master weights are fp32."""
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


class ConvertParams(Section):
    """The Hugging Face export."""

    dtype: Literal["float32", "bfloat16", "float16"]
    """Type of the exported weights."""
    max_shard_mb: Count
    """Largest file of weights, in megabytes; a larger model is written in several, with an
    index."""
    parity_tolerance: Annotated[float, Field(gt=0)]
    """Largest absolute difference of logits, both models in fp32."""
    greedy_tokens: Count
    """Tokens that the export generates for a prompt of each language; each has to be the likeliest
    one for Megatron as well."""


class EvaluateParams(Section):
    """The evaluation of base and result."""

    batch_tokens: Count
    """Tokens (padding included) of one forward call."""
    max_items: Count | None
    """Multiple-choice questions a language at most; null: all of test."""
    generated_items: Annotated[int, Field(ge=0)] | None
    """Of these, questions a language that are answered by generation as well; null: all."""
    open_prompts: Annotated[int, Field(ge=0)]
    """Open prompts a language that both models answer, for stop rate, repetition and language."""
    max_new_tokens: Count
    """Tokens of an open answer at most."""
    resamples: Count
    """Resamples of confidence intervals and paired tests."""


class Params(Section):
    """The whole of params.yaml."""

    experiment: str
    """Name of the experiment, for people."""
    seed: Annotated[int, Field(ge=0)]
    """Root of every derived seed."""
    languages: tuple[LanguageCode, ...]
    """Languages to train on; code is the pseudo-language of programming instructions."""
    sources: SourcesParams
    mcqa: McqaParams
    curate: CurateParams
    tokenizer: TokenizerParams
    tokenize: TokenizeParams
    model: ModelParams
    base: BaseParams
    mixture: MixtureParams
    pack: PackParams
    train: TrainParams
    convert: ConvertParams
    evaluate: EvaluateParams

    @model_validator(mode="after")
    def _sections_agree(self) -> "Params":
        if len(set(self.languages)) != len(self.languages) or not self.languages:
            raise ValueError("languages: each language once, at least one")
        outside = [code for code in self.mixture.weights or () if code not in self.languages]
        if outside:
            raise ValueError(f"mixture.weights: {outside[0]!r} is not among languages")
        if self.pack.sequence_length > self.model.max_positions:
            raise ValueError(
                f"pack.sequence_length {self.pack.sequence_length} exceeds "
                f"model.max_positions {self.model.max_positions}"
            )
        if (self.tokenize.truncate_to or 0) > self.pack.sequence_length:
            raise ValueError(
                f"tokenize.truncate_to {self.tokenize.truncate_to} exceeds pack.sequence_length "
                f"{self.pack.sequence_length}: what is cut to it would be dropped all the same"
            )
        if self.pack.global_batch_unit == "tokens" and (
            self.pack.global_batch < self.pack.sequence_length
        ):
            raise ValueError(
                f"pack.global_batch {self.pack.global_batch} tokens is less than one pack of "
                f"{self.pack.sequence_length}"
            )
        return self
