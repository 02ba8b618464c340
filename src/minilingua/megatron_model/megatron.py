"""The one door to megatron-core: what this package and ``training`` use of it, imported quietly.

Everything else imports these names from here, so that the CPU shim is always in place first.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from minilingua.megatron_model import cpu_shim

cpu_shim.install()  # has to precede the imports below; the reason why this module exists


@contextmanager
def quiet() -> Iterator[None]:
    """Drops warnings in the block: Megatron gives many that nobody can act on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# Megatron loads torch's compiler front end, which tells a machine with nvcc and no GPU of it.
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)

with quiet():  # about each optional package (Apex, TransformerEngine) that is not installed
    from megatron.core import dist_checkpointing, parallel_state, tensor_parallel
    from megatron.core.dist_checkpointing.core import (
        CheckpointingConfig,
        CheckpointingException,
        save_config,
    )
    from megatron.core.dist_checkpointing.optimizer import make_sharded_optimizer_tensor
    from megatron.core.dist_checkpointing.state_dict_utils import save_preprocess
    from megatron.core.dist_checkpointing.strategies import torch as torch_strategy
    from megatron.core.dist_checkpointing.strategies.common import TorchCommonSaveStrategy
    from megatron.core.distributed import (
        DistributedDataParallel,
        DistributedDataParallelConfig,
        finalize_model_grads,
    )
    from megatron.core.distributed.data_parallel_base import (
        _BaseDataParallel as DataParallelBase,
    )
    from megatron.core.models.gpt import GPTModel
    from megatron.core.models.gpt.gpt_layer_specs import (
        get_gpt_layer_local_spec,
        get_gpt_layer_with_transformer_engine_spec,
    )
    from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
    from megatron.core.packed_seq_params import PackedSeqParams
    from megatron.core.pipeline_parallel import get_forward_backward_func
    from megatron.core.tensor_parallel.random import (
        get_cuda_rng_tracker,
        model_parallel_cuda_manual_seed,
    )
    from megatron.core.transformer import TransformerConfig
    from megatron.core.transformer.enums import AttnMaskType
    from megatron.core.transformer.module import Float16Module, MegatronModule
    from megatron.core.transformer.spec_utils import ModuleSpec
    from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
    from megatron.core.transformer.transformer_layer import TransformerLayer

logging.getLogger("megatron").setLevel(logging.ERROR)

__all__ = [
    "AttnMaskType",
    "CheckpointingConfig",
    "CheckpointingException",
    "DataParallelBase",
    "DistributedDataParallel",
    "DistributedDataParallelConfig",
    "Float16Module",
    "GPTModel",
    "MegatronModule",
    "ModuleSpec",
    "OptimizerConfig",
    "OptimizerParamScheduler",
    "PackedSeqParams",
    "TorchCommonSaveStrategy",
    "TransformerBlockSubmodules",
    "TransformerConfig",
    "TransformerLayer",
    "dist_checkpointing",
    "finalize_model_grads",
    "get_cuda_rng_tracker",
    "get_forward_backward_func",
    "get_gpt_layer_local_spec",
    "get_gpt_layer_with_transformer_engine_spec",
    "get_megatron_optimizer",
    "make_sharded_optimizer_tensor",
    "model_parallel_cuda_manual_seed",
    "parallel_state",
    "quiet",
    "save_config",
    "save_preprocess",
    "tensor_parallel",
    "torch_strategy",
]
