"""Batched scoring against scoring one by one, and what a model directory must hold."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from minilingua.core.errors import CheckpointError, DataError, MissingInputError
from minilingua.evaluation.model import (
    Request,
    load_model,
    log_likelihoods,
    reproducible_arithmetic,
)
from minilingua.evaluation.result_log import ResultLog

from .conftest import tiny_llama

ids = st.integers(0, 319)
requests = st.lists(
    st.builds(
        lambda prefix, branches: Request(
            prefix=tuple(prefix), branches=tuple(map(tuple, branches))
        ),
        st.lists(ids, min_size=1, max_size=14),
        st.lists(st.lists(ids, min_size=1, max_size=6), min_size=1, max_size=5),
    ),
    min_size=1,
    max_size=7,
)


def one_by_one(model: Any, request: Request) -> list[np.ndarray[Any, Any]]:
    """The definition: every branch alone behind the prefix, all logits, no batch."""
    result = []
    for branch in request.branches:
        tokens = torch.tensor([[*request.prefix, *branch]])
        with torch.inference_mode():
            logs = model(input_ids=tokens).logits[0].double().log_softmax(-1)
        first = len(request.prefix) - 1
        result.append(np.array([logs[first + i, token] for i, token in enumerate(branch)]))
    return result


@settings(max_examples=40, deadline=None)
@given(requests=requests, batch_tokens=st.sampled_from([1, 24, 60, 4096]))
def test_equals_scoring_each_branch_alone(
    model: Any, requests: list[Request], batch_tokens: int
) -> None:
    found = log_likelihoods(model, requests, batch_tokens, "test", ResultLog())
    assert len(found) == len(requests)
    for request, branches in zip(requests, found, strict=True):
        for values, expected in zip(branches, one_by_one(model, request), strict=True):
            np.testing.assert_allclose(values, expected, atol=1e-5)


def test_a_prefix_is_read_once_for_all_its_requests(model: Any) -> None:
    read: list[int] = []
    hook = model.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: read.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    shared = [
        Request(prefix=(1, 2, 3, 4), branches=branches)
        for branches in (((5, 6), (7,)), ((5, 6, 8),), ((9,), (5, 6)))
    ]
    try:
        found = log_likelihoods(model, shared, 64, "test", ResultLog())
    finally:
        hook.remove()
    assert read == [4 + 1 + 2 + 1]  # of a branch, all but the last token
    for request, branches in zip(shared, found, strict=True):
        for values, expected in zip(branches, one_by_one(model, request), strict=True):
            np.testing.assert_allclose(values, expected, atol=1e-5)


def test_batches_hold_no_more_tokens_than_asked(model: Any) -> None:
    shapes: list[tuple[int, int]] = []
    hook = model.model.register_forward_pre_hook(
        lambda _module, _args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)),
        with_kwargs=True,
    )
    try:
        log_likelihoods(
            model,
            [Request(prefix=(1,) * length, branches=((2,), (3, 4))) for length in range(1, 30)],
            40,
            "test",
            ResultLog(),
        )
    finally:
        hook.remove()
    assert sum(rows for rows, _ in shapes) == 29
    assert all(rows == 1 or rows * width <= 40 for rows, width in shapes)
    assert len(shapes) < 29


def test_same_bytes_again_whatever_the_thread_count_was(model: Any) -> None:
    wanted = [Request(prefix=tuple(range(9)), branches=((5, 6, 7), (8,)))] * 5

    def score() -> bytes:
        with reproducible_arithmetic():
            found = log_likelihoods(model, wanted, 64, "test", ResultLog())
        return b"".join(values.tobytes() for branches in found for values in branches)

    before = torch.get_num_threads()
    first = score()
    torch.set_num_threads(1)
    try:
        assert score() == first
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    tiny_llama().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def _rewrite(path: Path, change: Any) -> None:
    tensors = load_file(path / "model.safetensors")
    change(tensors)
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})


def test_loads_in_fp32_for_scoring(saved: Path) -> None:
    model = load_model(saved, "minilingua base", 320)
    assert model.dtype == torch.float32
    assert not model.training


def test_a_missing_model_names_its_stage(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(MissingInputError, match="`minilingua convert` makes it"):
        load_model(tmp_path / "nowhere", "minilingua convert", 320)
    (saved / "model.safetensors").unlink()
    with pytest.raises(MissingInputError, match=r"model\.safetensors is missing"):
        load_model(saved, "minilingua base", 320)


def test_weights_that_are_not_finite_are_named(saved: Path) -> None:
    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = float("nan")

    _rewrite(saved, spoil)
    with pytest.raises(CheckpointError, match=r"layers\.1\.mlp\.up_proj\.weight .* not finite"):
        load_model(saved, "minilingua base", 320)


def test_a_missing_tensor_is_named(saved: Path) -> None:
    _rewrite(saved, lambda tensors: tensors.pop("model.norm.weight"))
    with pytest.raises(CheckpointError, match=r"missing keys in the weights: model\.norm\.weight"):
        load_model(saved, "minilingua base", 320)


def test_too_small_a_vocabulary_is_refused(saved: Path) -> None:
    with pytest.raises(CheckpointError, match="vocab_size is 320, but the tokenizer has 321"):
        load_model(saved, "minilingua base", 321)


def test_another_architecture_is_refused(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"model_type": "gpt2"}))
    with pytest.raises(CheckpointError, match="model_type is 'gpt2'; only 'llama'"):
        load_model(saved, "minilingua base", 320)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 16}, r"embed_tokens\.weight has shape \[320, 32\], .* \[320, 16\]"),
        ({"hidden_size": "wide"}, "transformers cannot load it: .*hidden_size"),
        ({"num_attention_heads": 0}, "transformers cannot load it: "),
    ],
)
def test_a_configuration_that_does_not_fit_is_one_line(
    saved: Path, changes: dict[str, Any], message: str
) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(CheckpointError, match=message) as error:
        load_model(saved, "minilingua base", 320)
    assert "\n" not in str(error.value)


def test_damaged_files_are_one_line(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=f"{saved}: transformers cannot load it: Safetensor"):
        load_model(saved, "minilingua base", 320)
    (saved / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json: not JSON"):
        load_model(saved, "minilingua base", 320)
    assert capfd.readouterr() == ("", "")  # transformers' own report of it


def test_an_unknown_tensor_is_one_line(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _rewrite(saved, lambda tensors: tensors.update({"model.extra": torch.ones(2)}))
    with pytest.raises(CheckpointError, match=r"unexpected keys in the weights: model\.extra"):
        load_model(saved, "minilingua base", 320)
    assert capfd.readouterr() == ("", "")
