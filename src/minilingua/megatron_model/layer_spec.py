"""Which modules make up the transformer block: Megatron's layers with our attention and norms."""

from typing import Any

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
)


class LastLayer(TransformerLayer):  # type: ignore[misc]  # Megatron is untyped
    """The last layer: its feed-forward runs only on the rows that the output layer needs.

    Nothing else reads its output, and most rows of a pack are prompts, which predict nothing.
    """

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Any]:
        """As Megatron's layer, but returns [r, 1, h] for r target rows."""
        hidden, context = self._forward_attention(*args, **kwargs)
        rows = kwargs["packed_seq_params"].target_rows
        if rows is not None:
            hidden = hidden.index_select(0, rows)
        return self._forward_mlp(hidden), context


def layer_specs(config: TransformerConfig, backend: Backend) -> TransformerBlockSubmodules:
    """Returns the layers of the whole block and its final norm."""
    specs = [_layer_spec(backend) for _ in range(config.num_layers)]
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
