"""Engines in this process, on the workspace in the current directory."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from minilingua.core.records import Split
from minilingua.megatron_model.megatron import quiet
from minilingua.params import Params
from minilingua.training.base import read_base
from minilingua.training.data import PlannedSplit, open_split
from minilingua.training.engine import Engine, build_engine
from minilingua.training.inputs import read_inputs
from tests.training.workspace import Workspace


def with_train(params: Params, **changes: Any) -> Params:
    return params.model_copy(update={"train": params.train.model_copy(update=changes)})


def opened(params: Params, split: Split = "train") -> PlannedSplit:
    inputs = read_inputs(params.model)
    return open_split(inputs.plan, split, vocab_size=inputs.vocab_size, with_slots=True)


def engine_of(workspace: Workspace, *, train: PlannedSplit | None = None, **changes: Any) -> Engine:
    params = with_train(workspace.params, **changes)
    base = read_base(params.model)
    with quiet():
        return build_engine(
            params,
            base.tensors,
            vocab_size=base.vocab_size,
            backend="sdpa",
            train=train or opened(params),
        )


def gradients(engine: Engine) -> dict[str, Tensor]:
    """Copies of the gradients that the last step used, before clipping if that is off."""
    return {
        name: parameter.main_grad.clone() for name, parameter in engine.model.named_parameters()
    }


def without_targets(split: PlannedSplit, packs: set[int]) -> PlannedSplit:
    """The same with the targets of some packs' conversations taken away."""
    languages = dict(split.languages)
    for number in packs:
        for ref in split.plan.pack(number):
            language = languages[ref.language]
            needed, supervised = language.rows_needed.copy(), language.supervised.copy()
            needed[ref.row] = supervised[ref.row] = 0
            languages[ref.language] = replace(language, rows_needed=needed, supervised=supervised)
    return replace(split, languages=languages)
