import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from minilingua.core.errors import ParamsError
from minilingua.megatron_model.attention import SdpaAttention, VarlenAttention, choose_backend
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


def test_auto_takes_a_backend_that_has_the_dropout(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU without TransformerEngine."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if "engine" in name else object()
    )
    assert choose_backend("auto", "bf16") == "varlen"
    assert choose_backend("auto", "bf16", attention_dropout=0.1) == "sdpa"
    assert choose_backend("auto", "fp32") == "sdpa"


def test_varlen_refuses_dropout() -> None:
    with quiet():
        config = transformer_config(MODEL, BuildOptions(attention_dropout=0.1))
    with pytest.raises(ParamsError, match="attention_dropout"):
        VarlenAttention(config, 1, AttnMaskType.causal, "self")
