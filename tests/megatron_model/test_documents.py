import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from minilingua.megatron_model.documents import pack_documents

document_lengths = st.lists(st.integers(1, 40), min_size=1, max_size=30)


@given(document_lengths)
def test_every_row_has_one_slot_beside_its_own_document(lengths: list[int]) -> None:
    documents = pack_documents(lengths, with_slots=True)
    slots = documents.slots
    assert slots is not None
    total = sum(lengths)
    assert torch.equal(slots.row_of_slot[slots.slot_of_row], torch.arange(total))
    real = set(slots.slot_of_row.tolist())
    padding = set(slots.padding.tolist())
    assert real.isdisjoint(padding)
    assert real | padding == set(range(len(slots.row_of_slot)))
    document_of_row = np.repeat(np.arange(len(lengths)), lengths)
    begin = seen = 0
    for documents_of_group, longest in slots.shapes:
        rows = slots.row_of_slot[begin : begin + documents_of_group * longest].numpy()
        for line in rows.reshape(documents_of_group, longest):
            members = document_of_row[line]
            length = lengths[members[0]]
            assert (members == members[0]).all()  # no slot looks into another document
            assert (np.diff(line[:length]) == 1).all()  # in order, padding behind
            assert longest * 0.8 <= length <= longest
        begin += documents_of_group * longest
        seen += documents_of_group
    assert seen == len(lengths)


@given(document_lengths)
def test_positions_begin_anew_in_each_document(lengths: list[int]) -> None:
    documents = pack_documents(lengths, with_slots=False)
    expected = [position for length in lengths for position in range(length)]
    assert documents.positions.tolist() == expected
    assert documents.cu_seqlens_q.tolist() == [0, *np.cumsum(lengths)]
    assert documents.max_seqlen_q == max(lengths)
    assert documents.slots is None
