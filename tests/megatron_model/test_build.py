from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from minilingua.core.errors import CheckpointError
from minilingua.llama_shapes import count_parameters
from minilingua.megatron_model import build, layer_spec
from minilingua.megatron_model.build import BuildOptions, PackedGPTModel, build_model
from minilingua.megatron_model.documents import pack_documents
from minilingua.megatron_model.layer_spec import FP8_ROWS, row_multiple
from minilingua.megatron_model.megatron import quiet
from minilingua.megatron_model.weight_map import hf_to_megatron
from minilingua.megatron_model.weights import load_tensors, read_tensors
from tests.megatron_model.conftest import VOCABULARY, tiny_model
from tests.megatron_model.llama import llama_tensors, random_llama

MODEL = tiny_model()
SEQUENCES = [list(range(11)), [5, 3], list(range(20, 45)), [7] * 9]


def loaded(options: BuildOptions | None = None) -> PackedGPTModel:
    module = build_model(MODEL, VOCABULARY, options)
    tensors = hf_to_megatron(llama_tensors(random_llama(MODEL, VOCABULARY)), MODEL)
    load_tensors(module, tensors, MODEL)
    return module


def forward(
    module: PackedGPTModel, sequences: Sequence[Sequence[int]], rows: Sequence[int] | None = None
) -> Tensor:
    """Returns [r, v]."""
    documents = pack_documents(
        [len(sequence) for sequence in sequences],
        target_rows=None if rows is None else np.array(rows, dtype=np.int64),
        with_slots=True,
    )
    tokens = torch.tensor([[token for sequence in sequences for token in sequence]])
    logits: Tensor = module(tokens, documents.positions[None], None, packed_seq_params=documents)
    return logits[0]


def test_changing_one_document_leaves_the_others_bit_equal() -> None:
    module = loaded()
    before = forward(module, SEQUENCES)
    changed = [SEQUENCES[0], SEQUENCES[1], [token + 1 for token in SEQUENCES[2]], SEQUENCES[3]]
    after = forward(module, changed)
    assert torch.equal(before[:13], after[:13])
    assert torch.equal(before[38:], after[38:])
    assert not torch.equal(before[13:38], after[13:38])


def test_later_tokens_leave_earlier_logits_bit_equal() -> None:
    module = loaded()
    before = forward(module, SEQUENCES)
    after = forward(module, [[*SEQUENCES[0][:-1], 60], *SEQUENCES[1:]])
    assert torch.equal(before[:10], after[:10])
    assert not torch.equal(before[10], after[10])


def test_packed_logits_are_the_unpacked_ones() -> None:
    module = loaded()
    packed = forward(module, SEQUENCES)
    alone = torch.cat([forward(module, [sequence]) for sequence in SEQUENCES])
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-5)


def test_target_rows_get_the_logits_that_all_rows_would() -> None:
    module = loaded()
    rows = [0, 4, 12, 13, 40]
    torch.testing.assert_close(
        forward(module, SEQUENCES, rows), forward(module, SEQUENCES)[rows], rtol=1e-5, atol=1e-6
    )
    assert forward(module, SEQUENCES, []).shape == (0, VOCABULARY)


def test_rows_that_fill_up_change_neither_losses_nor_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As 8-bit matrices need them; those are for GPUs, the filling is not."""
    results = []
    for multiple in (1, FP8_ROWS):
        monkeypatch.setattr(layer_spec, "row_multiple", lambda n=multiple, **_: n)
        module = loaded()
        documents = pack_documents([7], target_rows=np.array([2, 4, 5]), with_slots=True)
        tokens, labels = torch.tensor([[1, 2, 3, 4, 5, 6, 7]]), torch.tensor([[9, 8, 60]])
        loss = module(
            tokens, documents.positions[None], None, labels=labels, packed_seq_params=documents
        )
        assert loss.shape == (1, 3)
        loss.sum().backward()
        results.append([loss, *(parameter.grad for parameter in module.parameters())])
    for plain, filled in zip(*results, strict=True):
        torch.testing.assert_close(filled, plain, rtol=1e-5, atol=1e-6)


def test_what_rows_are_a_multiple_of() -> None:
    assert row_multiple(fp8=False, shared_by=1) == 1
    assert row_multiple(fp8=False, shared_by=2) == 2
    assert row_multiple(fp8=True, shared_by=2) == 2 * FP8_ROWS


def test_padded_vocabulary_changes_nothing_that_leaves_the_model() -> None:
    plain, padded = loaded(), loaded(BuildOptions(vocabulary_multiple=16))
    assert forward(padded, SEQUENCES).shape[1] == 64
    a, b = read_tensors(plain, MODEL), read_tensors(padded, MODEL)
    assert all(torch.equal(a[name], b[name]) for name in a)
    documents = pack_documents([4], with_slots=True)
    tokens, labels = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[2, 3, 4, 60]])
    losses = []
    for module in (plain, padded):
        loss = module(
            tokens, documents.positions[None], None, labels=labels, packed_seq_params=documents
        )
        loss.sum().backward()
        losses.append(loss)
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=1e-6)
    weight = padded.embedding.word_embeddings.weight
    assert torch.equal(weight.grad[VOCABULARY:], torch.zeros(3, 32))


def test_weights_read_are_those_loaded() -> None:
    tensors = hf_to_megatron(llama_tensors(random_llama(MODEL, VOCABULARY)), MODEL)
    module = build_model(MODEL, VOCABULARY)
    load_tensors(module, tensors, MODEL)
    read = read_tensors(module, MODEL)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[name], tensors[name]) for name in read)
    with torch.no_grad():
        module.embedding.word_embeddings.weight.zero_()
    assert read["embedding.word_embeddings.weight"].any()  # a copy


def test_loading_weights_of_another_shape_is_refused() -> None:
    module = build_model(MODEL, VOCABULARY)
    tensors = hf_to_megatron(llama_tensors(random_llama(MODEL, VOCABULARY + 1)), MODEL)
    with pytest.raises(CheckpointError, match=r"word_embeddings\.weight has shape"):
        load_tensors(module, tensors, MODEL)


def test_a_model_of_a_billion_parameters_is_built_without_memory() -> None:
    model = tiny_model(
        hidden_size=2048, ffn_hidden_size=8192, layers=16, attention_heads=32, kv_groups=8
    )
    with torch.device("meta"):
        module = build_model(model, 128000)
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}
    assert sum(p.numel() for p in module.parameters()) == count_parameters(model, 128000)


def test_megatrons_own_activation_computes_what_ours_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What profile `fast` takes on a GPU; there it is compiled, here it is not."""
    results = []
    for fused in (False, True):
        monkeypatch.setattr(build, "_compiles", lambda fused=fused: fused)
        module = loaded(BuildOptions(deterministic=False))
        assert module.config.bias_activation_fusion == fused
        assert module.config.use_te_activation_func != fused
        logits = forward(module, SEQUENCES)
        torch.autograd.backward(logits.square().sum())
        results.append([logits, *(parameter.grad for parameter in module.parameters())])
    for ours, megatrons in zip(*results, strict=True):
        torch.testing.assert_close(megatrons, ours, rtol=1e-3, atol=1e-4)


def test_kernels_that_are_compiled_are_for_the_profile_fast_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "_compiles", lambda: True)
    for deterministic, dropout in ((True, 0.1), (False, 0.0), (False, 0.1)):
        options = BuildOptions(deterministic=deterministic, hidden_dropout=dropout)
        with quiet():
            config = build.transformer_config(MODEL, options)
        assert config.bias_activation_fusion != deterministic
        assert config.bias_dropout_fusion == (not deterministic and dropout > 0)
