"""Which modules make up the transformer block: Megatron's layers with our attention and norms."""

from typing import Any

import torch
from torch import Tensor

from minilingua.megatron_model.attention import Backend, SdpaAttention, VarlenAttention
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


class LastLayer(TransformerLayer):  # type: ignore[misc]  # Megatron is untyped
    """The last layer: its feed-forward runs only on the rows that the output layer needs.

    Nothing else reads its output, and most rows of a pack are prompts, which predict nothing.
    """

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        """As Megatron's layer, but returns [r, 1, h] for r target rows.

        With sequence parallelism it returns a rank's share of them, filled up, so that they divide,
        with a row that nobody reads.
        """
        hidden, context = self._forward_attention(*args, **kwargs)
        rows = kwargs["packed_seq_params"].target_rows
        if rows is not None:
            hidden = (
                self._share_of_rows(hidden, rows)
                if self.config.sequence_parallel
                else hidden.index_select(0, rows)
            )
        return self._forward_mlp(hidden), context

    def _share_of_rows(self, hidden: Tensor, rows: Tensor) -> Tensor:
        ranks = self.config.tensor_model_parallel_size
        whole = tensor_parallel.gather_from_sequence_parallel_region(
            hidden, tensor_parallel_output_grad=False
        )
        missing = -len(rows) % ranks or (ranks if len(rows) == 0 else 0)
        filled = torch.cat([rows, rows.new_zeros(missing)])
        share: Tensor = tensor_parallel.scatter_to_sequence_parallel_region(
            whole.index_select(0, filled)
        )
        return share


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
