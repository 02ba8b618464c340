import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.megatron_model.context import ALONE, ContextChunks, ContextShare
from minilingua.megatron_model.documents import pack_documents
from tests.megatron_model.test_attention import GROUPS, HEADS, SIZE, attention, reference


def share_of(lengths: list[int], ranks: int) -> list[list[int]]:
    sizes = np.array(lengths)
    return [ContextShare(rank=rank, ranks=ranks).rows(sizes).tolist() for rank in range(ranks)]


@st.composite
def shared_documents(draw: st.DrawFn) -> tuple[list[int], int]:
    ranks = draw(st.integers(2, 4))
    chunks = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    return [2 * ranks * chunk for chunk in chunks], ranks


def test_each_rank_holds_an_early_and_a_late_chunk_of_every_document() -> None:
    assert share_of([8, 4], 2) == [[0, 1, 6, 7, 8, 11], [2, 3, 4, 5, 9, 10]]
    assert share_of([6], 3) == [[0, 5], [1, 4], [2, 3]]
    assert ALONE.rows(np.array([3, 2])).tolist() == [0, 1, 2, 3, 4]
    assert ContextChunks.of(np.array([3, 2]), ALONE, None) is None


@given(shared_documents())
def test_every_row_is_on_one_rank_and_all_ranks_have_as_much_to_do(
    case: tuple[list[int], int],
) -> None:
    lengths, ranks = case
    shares = share_of(lengths, ranks)
    assert sorted(row for rows in shares for row in rows) == list(range(sum(lengths)))
    positions = np.concatenate([np.arange(length) for length in lengths])
    # A query at position p sees p + 1 keys.
    assert len({int(positions[rows].sum()) for rows in shares}) == 1


@given(shared_documents(), st.data())
def test_a_rank_is_told_which_of_some_rows_it_holds(
    case: tuple[list[int], int], data: st.DataObject
) -> None:
    lengths, ranks = case
    total = sum(lengths)
    wanted = np.array(sorted(data.draw(st.sets(st.integers(0, total - 1)))), dtype=np.int64)
    found = []
    for rank in range(ranks):
        rows, places = ContextShare(rank=rank, ranks=ranks).take(lengths, wanted)
        held = places >= 0
        assert rows[places[held]].tolist() == wanted[held].tolist()
        found += wanted[held].tolist()
    assert sorted(found) == wanted.tolist()


@settings(max_examples=30, deadline=None)
@given(shared_documents())
def test_chunks_of_all_ranks_make_up_the_attention_of_whole_documents(
    case: tuple[list[int], int],
) -> None:
    lengths, ranks = case
    total, sizes = sum(lengths), np.array(lengths)
    generator = torch.Generator().manual_seed(total)
    ours = [
        torch.randn(total, heads, SIZE, generator=generator).requires_grad_()
        for heads in (HEADS, GROUPS, GROUPS)
    ]
    theirs = [x.detach().clone().requires_grad_() for x in ours]
    q, k, v = ours
    shares = [torch.tensor(rows) for rows in share_of(lengths, ranks)]
    gathered = torch.cat(shares)  # as the exchange leaves them: rank after rank
    parts = []
    for rank, rows in enumerate(shares):
        chunks = ContextChunks.of(sizes, ContextShare(rank=rank, ranks=ranks), None)
        assert chunks is not None
        keys, values = (x[gathered][chunks.key_rows] for x in (k, v))
        parts.append(attention().attend_chunks(q[rows], keys, values, chunks))
    out = torch.cat(parts)[torch.argsort(gathered)]
    still = torch.ones(1), torch.zeros(1)  # no rotation
    expected = reference(theirs[0], theirs[1], theirs[2], lengths, *still)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    grad = torch.randn(out.shape, generator=generator)
    torch.autograd.backward([out, expected], [grad, grad])
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5)


def test_packed_documents_name_whole_bounds_and_own_rows() -> None:
    """Bounds of whole documents are what TransformerEngine asks for beside a rank's rows."""
    documents = pack_documents([8, 4], with_slots=True, share=ContextShare(rank=1, ranks=2))
    assert documents.cu_seqlens_q.tolist() == [0, 8, 12]
    assert documents.max_seqlen_q == 8
    assert documents.positions.tolist() == [2, 3, 4, 5, 1, 2]
    assert documents.slots is None
    assert documents.chunks is not None
    assert documents.chunks.shapes == ((2, 4), (2, 6), (1, 2), (1, 3))
    assert documents.chunks.cu_seqlens_q.tolist() == [0, 2, 4, 5, 6]
    assert documents.chunks.cu_seqlens_k.tolist() == [0, 4, 10, 12, 15]
