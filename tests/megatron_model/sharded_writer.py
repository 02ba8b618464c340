"""A model-parallel job that writes a model as a distributed checkpoint.

Usage: python sharded_writer.py DIRECTORY VOCABULARY TENSOR_PARALLEL PIPELINE_PARALLEL, where the
directory holds full.safetensors and model.json, and an empty checkpoint/. The model is Megatron's
own GPT, sharded by Megatron; every rank takes its part of the full tensors. The ranks are forked
once everything is imported, which takes most of the time.
"""

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import distributed
from torch._C._distributed_c10d import FileStore

from minilingua.megatron_model.build import BuildOptions, transformer_config
from minilingua.megatron_model.megatron import (
    GPTModel,
    dist_checkpointing,
    get_gpt_layer_local_spec,
    model_parallel_cuda_manual_seed,
    parallel_state,
    quiet,
)
from minilingua.params import ModelParams
from tests.megatron_model.in_process_save import InProcessSave


def write_part(rank: int, directory: Path, vocab_size: int, tensor: int, pipeline: int) -> None:
    store = FileStore(str(directory / "store"), tensor * pipeline)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=tensor * pipeline)
    parallel_state.initialize_model_parallel(
        tensor_model_parallel_size=tensor, pipeline_model_parallel_size=pipeline
    )
    model_parallel_cuda_manual_seed(0)
    params = ModelParams.model_validate_json((directory / "model.json").read_text())
    config = transformer_config(params, BuildOptions())
    config.tensor_model_parallel_size = tensor
    config.pipeline_model_parallel_size = pipeline
    config.pipeline_dtype = torch.float32
    first = parallel_state.is_pipeline_first_stage()
    last = parallel_state.is_pipeline_last_stage()
    module = GPTModel(
        config=config,
        transformer_layer_spec=get_gpt_layer_local_spec(normalization="RMSNorm"),
        vocab_size=-(-vocab_size // tensor) * tensor,
        max_sequence_length=params.max_positions,
        pre_process=first,
        post_process=last,
        share_embeddings_and_output_weights=params.tied_embeddings,
        position_embedding_type="rope",
    )
    fill(module, load_file(directory / "full.safetensors"), params, pipeline)
    dist_checkpointing.save(
        module.sharded_state_dict(),
        str(directory / "checkpoint"),
        sharded_strategy=InProcessSave(),
    )
    distributed.barrier()
    distributed.destroy_process_group()


def fill(module: Any, tensors: dict[str, torch.Tensor], params: ModelParams, stages: int) -> None:
    """Copies this rank's part of each full tensor."""
    ranks = parallel_state.get_tensor_model_parallel_world_size()
    rank = parallel_state.get_tensor_model_parallel_rank()
    begin = parallel_state.get_pipeline_model_parallel_rank() * (params.layers // stages)
    for name, parameter in module.named_parameters():
        full_name = name
        if ".layers." in name:
            head, _, tail = name.partition(".layers.")
            number, _, inner = tail.partition(".")
            full_name = f"{head}.layers.{begin + int(number)}.{inner}"
        full = tensors[full_name]
        if "linear_fc1" in name:  # [gate; up]: a rank holds its part of each
            part = torch.cat([half.chunk(ranks)[rank] for half in full.chunk(2)])
        elif "linear_proj" in name or "linear_fc2" in name:
            part = full.chunk(ranks, dim=1)[rank]
        elif full.dim() == 1:
            part = full
        else:
            rows = parameter.shape[0] * ranks
            padded = torch.cat([full, torch.zeros(rows - full.shape[0], full.shape[1])])
            part = padded.chunk(ranks)[rank]
        with torch.no_grad():
            parameter.copy_(part)


def main(directory: Path, vocab_size: int, tensor: int, pipeline: int) -> int:
    context = multiprocessing.get_context("fork")
    ranks = [
        context.Process(target=write_part, args=(rank, directory, vocab_size, tensor, pipeline))
        for rank in range(tensor * pipeline)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    return max(abs(process.exitcode or 0) for process in ranks)


if __name__ == "__main__":
    with quiet():
        sys.exit(main(Path(sys.argv[1]), *map(int, sys.argv[2:])))
