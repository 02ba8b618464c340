from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.errors import ParamsError
from minilingua.params import Params
from minilingua.params_file import load_params
from minilingua.training.inputs import check_ranks
from minilingua.training.layout import Layout, model_parallel_ranks, plan_layout
from tests.training.layout_program import with_layout
from tests.training.workspace import REPOSITORY, split_plan

PARAMS = load_params(REPOSITORY / "params.yaml")  # 5 layers, 8 heads, 4 groups


def params_of(model: dict[str, Any] | None = None, **parallel: Any) -> Params:
    params = with_layout(PARAMS, parallel)
    return params.model_copy(update={"model": params.model.model_copy(update=model or {})})


def test_what_is_left_of_the_ranks_is_data_parallel() -> None:
    layout = plan_layout(params_of(tensor=2, sequence=True, pipeline=5, context=2), 40)
    assert layout == Layout(tensor=2, sequence=True, pipeline=5, context=2, data=2)
    assert layout.ranks == 40
    assert layout.explain() == "data 2, tensor 2, context 2, pipeline 5, sequence parallel"
    assert plan_layout(params_of(), 1).explain() == "one rank"
    assert plan_layout(params_of(fully_sharded=True), 2).explain() == "data 2, fully sharded"


@pytest.mark.parametrize(
    ("parallel", "ranks", "message"),
    [
        ({"tensor": 3}, 3, "tensor 3 does not divide .* would fit: 1 or 2 or 4"),
        ({"tensor": 8}, 8, "4 key-value groups .* would fit: 1 or 2 or 4"),
        ({"pipeline": 2}, 2, "pipeline 2 does not divide .* 5 layers; would fit: 1 or 5"),
        ({"tensor": 4}, 6, "needs a multiple of 4 ranks, there are 6; with 6 would fit: tensor 1 "),
        ({"tensor": 4}, 1, "with 1 would fit: tensor 1 x pipeline 1"),
        ({"sequence": True}, 2, "tensor is 1; set sequence to false, or tensor to 2 or 4"),
        ({"context": 3}, 3, "context 3: twice as many .* 1024 positions; would fit: 1 or 2 or 4 "),
        ({"fully_sharded": True, "tensor": 2}, 2, "parallel.tensor is 2, set it to 1"),
        ({"fully_sharded": True, "overlap": True}, 2, "parallel.overlap is True, set it to False"),
        ({"context": 2}, 1, "tensor 1 x pipeline 1 x context 2 needs a multiple of 2 ranks"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(
    parallel: dict[str, Any], ranks: int, message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        plan_layout(params_of(**parallel), ranks)


@given(tensor=st.integers(1, 9), pipeline=st.integers(1, 9), ranks=st.integers(1, 40))
def test_a_layout_that_is_accepted_cuts_everything_evenly(
    tensor: int, pipeline: int, ranks: int
) -> None:
    params = params_of(tensor=tensor, pipeline=pipeline)
    model = params.model
    fits = (
        model.kv_groups % tensor == model.attention_heads % tensor == 0
        and model.ffn_hidden_size % tensor == model.layers % pipeline == 0
        and ranks % model_parallel_ranks(params.train.parallel) == 0
    )
    try:
        layout = plan_layout(params, ranks)
    except ParamsError:
        assert not fits
    else:
        assert fits
        assert layout.tensor * layout.pipeline * layout.data == ranks


def test_ranks_that_never_had_a_pack_are_refused() -> None:
    plan = split_plan([("en", row) for row in range(7)], np.arange(8), [0, 3, 7])
    check_ranks(plan, Layout(data=4))
    with pytest.raises(ParamsError, match=r"at most 4 packs, 5 data-parallel .* at most 8 ranks"):
        check_ranks(plan, Layout(data=5, tensor=2))
