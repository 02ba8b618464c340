"""Logits of plain token sequences from a dictionary of Megatron tensors: for the parity gate."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from minilingua.megatron_model.build import build_model
from minilingua.megatron_model.documents import pack_documents
from minilingua.megatron_model.parallel import one_rank
from minilingua.megatron_model.weight_map import VOCABULARY_TENSORS
from minilingua.megatron_model.weights import load_tensors
from minilingua.params import ModelParams


def compute_logits(
    tensors: Mapping[str, Tensor], model: ModelParams, token_ids: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Returns the logits [n, vocabulary] of each sequence of n tokens, in fp32.

    Runs the training's own model on the CPU. Brings up, and takes down, the model-parallel state
    of one process when there is none.

    Args:
        tensors: full, unpadded weights by Megatron name.
        model: their shape.
        token_ids: sequences, none of them empty.

    Raises:
        CheckpointError: the tensors do not have the shape that ``model`` implies.
    """
    vocab_size = int(tensors[VOCABULARY_TENSORS[0]].shape[0])
    with one_rank(), torch.inference_mode():
        module = build_model(model, vocab_size).eval()
        load_tensors(module, tensors, model)
        lengths = [len(sequence) for sequence in token_ids]
        documents = pack_documents(lengths, with_slots=True)
        flat = torch.tensor([[token for sequence in token_ids for token in sequence]])
        logits = module(flat, documents.positions[None], None, packed_seq_params=documents)
    return [part.clone() for part in logits[0, :, :vocab_size].split(lengths)]
