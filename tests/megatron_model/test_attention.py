from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from minilingua.core.errors import ParamsError
from minilingua.megatron_model.attention import SdpaAttention, VarlenAttention
from minilingua.megatron_model.backends import choose_backend
from minilingua.megatron_model.build import BuildOptions, rope_tables, transformer_config
from minilingua.megatron_model.documents import PackedDocuments, pack_documents
from minilingua.megatron_model.megatron import AttnMaskType, quiet
from tests.megatron_model.conftest import tiny_model

MODEL = tiny_model()
HEADS, GROUPS, SIZE = 8, 2, 4


def attention(dropout: float = 0.0) -> SdpaAttention:
    with quiet():
        config = transformer_config(MODEL, BuildOptions(attention_dropout=dropout))
        return SdpaAttention(config, 1, AttnMaskType.causal, "self")


def described(lengths: list[int]) -> PackedDocuments:
    documents = pack_documents(lengths, with_slots=True)
    cos, sin = rope_tables(MODEL)
    documents.rope = cos[documents.positions], sin[documents.positions]
    return documents


def random_inputs(total: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(total)
    q, k, v = (
        torch.randn(total, heads, SIZE, generator=generator) for heads in (HEADS, GROUPS, GROUPS)
    )
    return q, k, v


def reference(
    q: Tensor, k: Tensor, v: Tensor, lengths: list[int], cos: Tensor, sin: Tensor
) -> Tensor:
    """Rotation as Llama writes it, then one document after the other with an explicit mask."""

    def rotated(x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], dim=-1) * sin

    outputs = []
    for dq, dk, dv in zip(
        *(torch.split(x, lengths) for x in (rotated(q), rotated(k), v)), strict=True
    ):
        keys, values = (x.repeat_interleave(HEADS // GROUPS, dim=1) for x in (dk, dv))
        scores = torch.einsum("ihd,jhd->hij", dq, keys) / SIZE**0.5
        future = torch.ones(len(dq), len(dq), dtype=torch.bool).triu(1)
        weights = functional.softmax(scores.masked_fill(future, -torch.inf), dim=-1)
        outputs.append(torch.einsum("hij,jhd->ihd", weights, values).flatten(1))
    return torch.cat(outputs)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_sdpa_is_causal_attention_document_by_document(lengths: list[int]) -> None:
    documents = described(lengths)
    assert documents.rope is not None
    ours = [x.requires_grad_() for x in random_inputs(sum(lengths))]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    out = attention()(*ours, None, packed_seq_params=documents)
    q, k, v = theirs
    expected = reference(q, k, v, lengths, *documents.rope)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward([out, expected], [grad, grad])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    documents = described([9, 4])
    inputs = random_inputs(13)
    plain = attention()(*inputs, None, packed_seq_params=documents)
    with_dropout = attention(dropout=0.5)
    assert not torch.allclose(with_dropout(*inputs, None, packed_seq_params=documents), plain)
    with_dropout.eval()
    assert torch.equal(with_dropout(*inputs, None, packed_seq_params=documents), plain)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a CPU cannot do")
def test_backends_that_cannot_run_here_are_refused() -> None:
    assert choose_backend("auto", "bf16") == "sdpa"
    assert choose_backend("sdpa", "bf16") == "sdpa"
    with pytest.raises(ParamsError, match="'te' needs a GPU and TransformerEngine"):
        choose_backend("te", "bf16")
    with pytest.raises(ParamsError, match="'varlen' needs a GPU"):
        choose_backend("varlen", "bf16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a CPU cannot do")
def test_fp8_is_refused_where_nothing_computes_in_it() -> None:
    for name in ("auto", "te", "sdpa"):
        with pytest.raises(
            ParamsError, match=f"fp8 needs a GPU .* it is {name}, and there is none"
        ):
            choose_backend(name, "fp8")


def test_fp8_takes_transformer_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU with it."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (9, 0))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object())
    assert choose_backend("auto", "fp8") == "te"
    assert choose_backend("te", "fp8") == "te"
    with pytest.raises(ParamsError, match=r"train.attention auto or te; it is varlen$"):
        choose_backend("varlen", "fp8")


def test_auto_takes_a_backend_that_has_the_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU without TransformerEngine."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if "engine" in name else object()
    )
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (9, 0))
    assert choose_backend("auto", "bf16") == "varlen"
    assert choose_backend("auto", "bf16", attention_dropout=0.1) == "sdpa"
    assert choose_backend("auto", "fp32") == "sdpa"
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: (7, 0))
    assert choose_backend("auto", "bf16") == "sdpa"
    with pytest.raises(ParamsError, match="'varlen' needs a GPU of the Ampere generation"):
        choose_backend("varlen", "bf16")


def test_varlen_refuses_dropout() -> None:
    with quiet():
        config = transformer_config(MODEL, BuildOptions(attention_dropout=0.1))
    with pytest.raises(ParamsError, match="attention_dropout"):
        VarlenAttention(config, 1, AttnMaskType.causal, "self")


def plain_attention(
    query: Tensor, key: Tensor, value: Tensor, bounds: tuple[Tensor, Tensor]
) -> Tensor:
    """[t, a, d] and as many heads of keys: causal from the end of each document's keys."""
    outputs = []
    for (qb, qe), (kb, ke) in zip(
        *([(b[i], b[i + 1]) for i in range(len(b) - 1)] for b in map(Tensor.tolist, bounds)),
        strict=True,
    ):
        q, k, v = (x.transpose(0, 1) for x in (query[qb:qe], key[kb:ke], value[kb:ke]))
        seen = torch.ones(qe - qb, ke - kb, dtype=torch.bool).tril(ke - kb - (qe - qb))
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        outputs.append(out.transpose(0, 1))
    return torch.cat(outputs)


def varlen_2_10(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    is_causal: bool = False,
    return_aux: None = None,
) -> Tensor:
    """The signature of torch 2.10."""
    assert is_causal
    assert return_aux is None
    assert_described(query, key, (cu_seq_q, cu_seq_k), (max_q, max_k))
    assert query.shape[1] == key.shape[1] == value.shape[1]
    return plain_attention(query, key, value, (cu_seq_q, cu_seq_k))


def varlen_2_11(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    return_aux: None = None,
    scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1),
) -> Tensor:
    """The signature of torch 2.11."""
    assert window_size == (-1, 0)
    assert scale is None
    return varlen_2_10(
        query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=True, return_aux=return_aux
    )


def varlen_2_12(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *positions: Any,
    enable_gqa: bool = False,
    **options: Any,
) -> Tensor:
    """The signature of torch 2.12, which groups heads by itself."""
    assert enable_gqa == (query.shape[1] != key.shape[1])
    key, value = (x.repeat_interleave(HEADS // GROUPS, dim=1) for x in (key, value))
    return varlen_2_11(query, key, value, *positions, **options)


def assert_described(
    query: Tensor, key: Tensor, bounds: tuple[Tensor, Tensor], longest: tuple[int, int]
) -> None:
    for x, bound, most in zip((query, key), bounds, longest, strict=True):
        assert bound.dtype == torch.int32
        assert int(bound[-1]) == len(x)
        assert int(bound.diff().max()) == most


@pytest.mark.parametrize("version", [varlen_2_10, varlen_2_11, varlen_2_12])
def test_varlen_calls_every_version_of_torchs_kernel_for_what_sdpa_computes(
    monkeypatch: pytest.MonkeyPatch, version: Any
) -> None:
    """A CPU has no such kernel: here the function that calls it is another one, by its name."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", version)
    with quiet():
        config = transformer_config(MODEL, BuildOptions())
        varlen = VarlenAttention(config, 1, AttnMaskType.causal, "self")
    documents = described([7, 1, 12])
    inputs = random_inputs(20)
    out = varlen(*inputs, None, packed_seq_params=documents)
    torch.testing.assert_close(out, attention()(*inputs, None, packed_seq_params=documents))
