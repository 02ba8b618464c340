"""Sections of tokenizer and model."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from minilingua.params.section import (
    Count,
    Revision,
    Section,
)


def _check_origin(section: "TokenizerParams | BaseParams") -> None:
    """Checks that just the keys of the origin are set."""
    if (section.origin in {"local", "gguf", "megatron"}) != (section.path is not None):
        raise ValueError(
            "path names a directory exactly when origin is 'local' (or 'megatron', for base), "
            "or a file: 'gguf'"
        )
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

    origin: Literal["random", "local", "gguf", "megatron", "hub"]
    """random: seeded normal initialisation of model; local: a Hugging Face model from path; gguf:
    dequantized from path; megatron: a legacy checkpoint of Megatron-LM from path; hub: downloaded
    from the Hugging Face hub, safetensors only."""
    path: str | None
    """For origin local a directory of a Hugging Face Llama model; for gguf a file, or
    package:NAME/FILE inside an installed package; for megatron a directory of checkpoints
    (latest_checkpointed_iteration.txt), or one of them (iter_0001000)."""
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
