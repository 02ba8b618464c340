"""What is left out is left out by one rule, with its reason; the sample is complete."""

from typing import Any

import pytest

from minilingua.core.errors import ParamsError
from minilingua.params import SampleParams, SourcesParams
from minilingua.sources.selection import reads_evaluation_files, select_sources, used_sources
from minilingua.sources.spec import load_specs, source_names
from tests.sources.conftest import SAMPLE_SOURCES

SIZES = SampleParams(facts=1, instruction_rows=1, mcqa_rows=1, code_rows=1)


def params(**changes: Any) -> SourcesParams:
    values = {"origin": "hub", "mirror": None, "benchmarks": None, "include": source_names(),
              "licence": "permissive", "evaluation_sets": "exclude", "sample": SIZES}  # fmt: skip
    return SourcesParams(**(values | changes))


def test_a_set_that_can_be_released_has_none_whose_licence_or_purpose_forbids_it() -> None:
    selection = select_sources(params())
    assert selection.used == (
        "arc_challenge", "aya", "aya_collection", "exams", "self_oss_instruct", "swefaq",
    )  # fmt: skip
    specs = load_specs()
    assert all(specs[name].commercial_use is True for name in selection.used)
    assert not any(specs[name].is_evaluation_only for name in selection.used)
    assert selection.excluded == {
        "alpaca": "CC-BY-NC-4.0 forbids commercial use, and sources.licence is 'permissive'",
        "bactrian_x": "CC-BY-NC-4.0 forbids commercial use, and sources.licence is 'permissive'",
        "buffet": "its licence is unknown (MIT is the card's; the parts keep their own, some of "
        "which forbid commercial use), and sources.licence is 'permissive'",
        "include": "it is a benchmark as a whole, and sources.evaluation_sets is 'exclude'",
        "lima": "CC-BY-NC-SA-4.0 forbids commercial use, and sources.licence is 'permissive'",
        "mcqa_minilingua": "it is made of ARC, SweFAQ, EXAMS, INCLUDE and the Czech TruthfulQA, of "
        "which the last asks never to be trained on, and sources.evaluation_sets is 'exclude'",
        "polyglot_prompt": "its licence is unknown (none is stated; the parts keep their own), and "
        "sources.licence is 'permissive'",
        "truthfulqa_cs": "it is a benchmark whose canary asks that it never be trained on, and "
        "sources.evaluation_sets is 'exclude'",
    }


def test_each_rule_can_be_lifted() -> None:
    any_licence = select_sources(params(licence="any"))
    assert set(any_licence.excluded) == {"include", "mcqa_minilingua", "truthfulqa_cs"}
    evaluation = select_sources(params(evaluation_sets="include"))
    assert set(evaluation.excluded) == {
        "alpaca", "bactrian_x", "buffet", "lima", "polyglot_prompt",
    }  # fmt: skip
    everything = select_sources(params(licence="any", evaluation_sets="include"))
    assert everything.used == source_names()


def test_the_order_is_that_of_include() -> None:
    chosen = params(include=("swefaq", "aya", "include", "arc_challenge"))
    assert select_sources(chosen).used == ("swefaq", "aya", "arc_challenge")
    assert used_sources(chosen, ("multiple_choice",)) == ("swefaq", "arc_challenge")
    assert used_sources(chosen, ("instruction", "code")) == ("aya",)


def test_the_sample_is_ours_and_complete() -> None:
    selection = select_sources(params(origin="sample"))
    assert selection.used == tuple(SAMPLE_SOURCES)
    assert set(selection.excluded.values()) == {"it is not in the generated sample"}
    assert reads_evaluation_files(params(origin="sample"))
    assert not reads_evaluation_files(params())
    assert reads_evaluation_files(params(evaluation_sets="include"))


def test_an_unknown_source_and_an_empty_selection_are_named() -> None:
    with pytest.raises(ParamsError, match=r"unknown source 'bactrian'.*did you mean 'bactrian_x'"):
        select_sources(params(include=("aya", "bactrian")))
    with pytest.raises(ParamsError, match="every source of include is left out: lima: CC-BY-NC-SA"):
        select_sources(params(include=("lima",)))
