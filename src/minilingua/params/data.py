"""Sections of the data stages: sources, MCQA, curation."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from minilingua.core.records import AnswerFormat
from minilingua.params.section import (
    Count,
    FilterName,
    Section,
    Share,
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
        if not math.isclose(math.fsum(self.answer_formats.values()), 1, abs_tol=1e-9):
            raise ValueError(
                f"answer_formats sum to {math.fsum(self.answer_formats.values()):g} instead of 1"
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
