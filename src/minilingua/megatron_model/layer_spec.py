"""Which modules make up the transformer block: Megatron's layers with our attention and norms."""

from typing import Any

import torch
from torch import Tensor

from minilingua.megatron_model.attention import SdpaAttention, VarlenAttention
from minilingua.megatron_model.backends import Backend
from minilingua.megatron_model.kernels import RMSNorm, SwiGLU
from minilingua.megatron_model.megatron import (
    ModuleSpec,
    TransformerBlockSubmodules,
    TransformerConfig,
    TransformerLayer,
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
    parallel_state,
    tensor_parallel,
)

FP8_ROWS = 16
"""TransformerEngine multiplies 8-bit matrices of a multiple of so many rows."""


class LastLayer(TransformerLayer):  # type: ignore[misc]  # Megatron is untyped
    """The last layer: its feed-forward runs only on the rows that the output layer needs.

    Nothing else reads its output, and most rows of a pack are prompts, which predict nothing.
    """

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        """As Megatron's layer, but returns [r, 1, h] for r target rows.

        With sequence parallelism it returns a rank's share of them. Then, and in 8 bits, they are
        filled up, so that they divide, with a row that nobody reads.
        """
        hidden, context = self._forward_attention(*args, **kwargs)
        rows = kwargs["packed_seq_params"].target_rows
        if rows is not None:
            multiple = row_multiple(
                fp8=self.config.fp8 is not None,
                shared_by=self.config.tensor_model_parallel_size
                if self.config.sequence_parallel
                else 1,
            )
            hidden = self._select(hidden, _filled(rows, multiple))
        return self._forward_mlp(hidden), context

    def _select(self, hidden: Tensor, rows: Tensor) -> Tensor:
        if not self.config.sequence_parallel:
            return hidden.index_select(0, rows)
        whole = tensor_parallel.gather_from_sequence_parallel_region(
            hidden, tensor_parallel_output_grad=False
        )
        share: Tensor = tensor_parallel.scatter_to_sequence_parallel_region(
            whole.index_select(0, rows)
        )
        return share


def row_multiple(*, fp8: bool, shared_by: int) -> int:
    """Returns what a micro batch's number of rows has to be a multiple of.

    Args:
        fp8: matrices are multiplied in 8 bits.
        shared_by: ranks that share the rows (sequence parallelism), or 1.
    """
    return shared_by * (FP8_ROWS if fp8 else 1)


def _filled(rows: Tensor, multiple: int) -> Tensor:
    if multiple == 1:
        return rows
    missing = -len(rows) % multiple or (multiple if len(rows) == 0 else 0)
    return torch.cat([rows, rows.new_zeros(missing)])


def layer_specs(config: TransformerConfig, backend: Backend) -> TransformerBlockSubmodules:
    """Returns the layers of this rank's pipeline stage, and the block's final norm."""
    layers = config.num_layers // config.pipeline_model_parallel_size
    specs = [_layer_spec(backend) for _ in range(layers)]
    if parallel_state.is_pipeline_last_stage():
        specs[-1].module = LastLayer
    return TransformerBlockSubmodules(layer_specs=specs, layer_norm=_final_norm(backend))


def _final_norm(backend: Backend) -> Any:
    if backend == "te":
        from megatron.core.extensions.transformer_engine import TENorm

        return TENorm
    return RMSNorm


def _layer_spec(backend: Backend) -> ModuleSpec:
    if backend == "te":
        return get_gpt_layer_with_transformer_engine_spec()
    spec = get_gpt_layer_local_spec(normalization="RMSNorm")
    layer = spec.submodules
    layer.input_layernorm = layer.pre_mlp_layernorm = RMSNorm
    layer.self_attention.submodules.core_attention = (
        SdpaAttention if backend == "sdpa" else VarlenAttention
    )
    layer.mlp.submodules.activation_func = SwiGLU
    return spec
