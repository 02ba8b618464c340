import pytest
import torch

from minilingua.core.errors import CheckpointError
from minilingua.megatron_model.logits import compute_logits
from minilingua.megatron_model.weight_map import hf_to_megatron
from tests.megatron_model.conftest import VOCABULARY, tiny_model
from tests.megatron_model.llama import llama_tensors, random_llama


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_logits_are_those_of_transformers(tied: bool, groups: int) -> None:
    model = tiny_model(tied=tied, kv_groups=groups)
    llama = random_llama(model, VOCABULARY)
    tensors = hf_to_megatron(llama_tensors(llama), model)
    sequences = [list(range(7)), list(range(60, 1, -1)), [3]]
    for sequence, ours in zip(sequences, compute_logits(tensors, model, sequences), strict=True):
        with torch.inference_mode():
            theirs = llama(torch.tensor([sequence])).logits[0]
        assert ours.shape == (len(sequence), VOCABULARY)
        scale = float(theirs.abs().max())
        assert float((ours - theirs).abs().max()) <= 1e-5 * max(1.0, scale)


def test_tensors_that_do_not_fit_are_refused() -> None:
    model = tiny_model()
    tensors = hf_to_megatron(llama_tensors(random_llama(model, VOCABULARY)), model)
    with pytest.raises(CheckpointError, match="has shape"):
        compute_logits(tensors, tiny_model(ffn_hidden_size=40), [[1, 2]])
