"""Sections of export, evaluation and tracking."""

from typing import Annotated, Literal

from pydantic import Field

from minilingua.params.section import (
    Count,
    Section,
)


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


class TrackParams(Section):
    """What MLflow keeps. No stage reads it: the next `minilingua track` acts on a change."""

    model: Literal["copy", "reference"]
    """copy: the whole export, so that MLflow has the model of every training; reference: all of it
    but the weights, of which it names the hashes."""
