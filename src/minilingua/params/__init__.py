"""params.yaml, typed: the only source of hyper-parameters, one model a section.

The docstring under each field is its description: ``minilingua configure`` writes it as the
comment above the key. What decides *where* a run executes (cluster, image) is not here.
"""

from typing import Annotated

from pydantic import Field, model_validator

from minilingua.params.data import CurateParams, McqaParams, SampleParams, SourcesParams
from minilingua.params.model import BaseParams, ModelParams, TokenizeParams, TokenizerParams
from minilingua.params.results import ConvertParams, EvaluateParams, TrackParams
from minilingua.params.section import LanguageCode, Section
from minilingua.params.training import (
    EarlyStoppingParams,
    MixtureParams,
    PackParams,
    ParallelParams,
    SpikeParams,
    TrainParams,
)

__all__ = [
    "BaseParams",
    "ConvertParams",
    "CurateParams",
    "EarlyStoppingParams",
    "EvaluateParams",
    "LanguageCode",
    "McqaParams",
    "MixtureParams",
    "ModelParams",
    "PackParams",
    "ParallelParams",
    "Params",
    "SampleParams",
    "Section",
    "SourcesParams",
    "SpikeParams",
    "TokenizeParams",
    "TokenizerParams",
    "TrackParams",
    "TrainParams",
]


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
    track: TrackParams = TrackParams(model="copy")  # a default for runs from before it was there

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
