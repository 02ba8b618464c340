"""Builds the Megatron GPT model of a ``ModelParams``: this rank's part of it.

The vocabulary is padded so that it divides among the tensor-parallel ranks. Padded rows are zero
and cannot be predicted. ``weights`` moves full weights in and out.
"""

import importlib.util
import math
import os
import shutil
import sysconfig
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from minilingua.megatron_model.backends import Backend
from minilingua.megatron_model.cross_entropy import cross_entropy
from minilingua.megatron_model.documents import PackedDocuments
from minilingua.megatron_model.layer_spec import layer_specs
from minilingua.megatron_model.megatron import (
    GPTModel,
    TransformerConfig,
    parallel_state,
    quiet,
    tensor_parallel,
)
from minilingua.params import ModelParams


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """What about a model is not its shape."""

    attention: Backend = "sdpa"
    precision: Literal["fp32", "bf16", "fp8"] = "fp32"
    hidden_dropout: float = 0.0
    attention_dropout: float = 0.0
    deterministic: bool = True
    """Only kernels that give the same bits every time."""
    vocabulary_multiple: int = 1
    """The padded vocabulary is a multiple of this, and of the tensor-parallel ranks."""
    recompute: Literal["none", "selective", "full"] = "none"
    """Which activations the backward pass computes again."""
    sequence_parallel: bool = False
    """Tensor-parallel ranks share the rows between the matrices; a micro batch then has to have a
    multiple of their number of tokens."""


def transformer_config(model: ModelParams, options: BuildOptions) -> TransformerConfig:
    """Returns Megatron's configuration."""
    local = options.attention != "te"
    fused = not options.deterministic and _compiles()
    half = options.precision != "fp32"
    dtype = torch.bfloat16 if half else torch.float32
    return TransformerConfig(
        tensor_model_parallel_size=parallel_state.get_tensor_model_parallel_world_size(),
        pipeline_model_parallel_size=parallel_state.get_pipeline_model_parallel_world_size(),
        context_parallel_size=parallel_state.get_context_parallel_world_size(),
        sequence_parallel=options.sequence_parallel,
        pipeline_dtype=dtype,
        variable_seq_lengths=True,  # micro batches differ in length; stages tell each other
        # Of no effect, but the default refuses the line above.
        moe_token_dispatcher_type="alltoall",  # noqa: S106 - no password
        num_layers=model.layers,
        hidden_size=model.hidden_size,
        ffn_hidden_size=model.ffn_hidden_size,
        num_attention_heads=model.attention_heads,
        num_query_groups=model.kv_groups,
        normalization="RMSNorm",
        layernorm_epsilon=model.norm_epsilon,
        add_bias_linear=False,
        gated_linear_unit=True,
        activation_func=functional.silu,
        # In the local spec this selects our SwiGLU. Megatron's is one compiled kernel each way and
        # keeps its input only.
        use_te_activation_func=local and not fused,
        bias_activation_fusion=fused,
        # Without dropout it is an addition, which nothing is fused with. With dropout a compiled
        # kernel draws other numbers than torch does, so one that torch falls back from, as it may
        # after many shapes, would end a resumed training otherwise: not for ``deterministic``.
        bias_dropout_fusion=fused and options.hidden_dropout > 0,
        masked_softmax_fusion=False,
        gradient_accumulation_fusion=False,
        apply_rope_fusion=not local,
        hidden_dropout=options.hidden_dropout,
        attention_dropout=options.attention_dropout,
        bf16=half,
        # Scaled by each tensor's own maximum: a history of maxima would be state to resume with.
        fp8="hybrid" if options.precision == "fp8" else None,
        fp8_recipe="tensorwise",
        params_dtype=dtype,
        perform_initialization=False,  # weights always come from a base model or a checkpoint
        calculate_per_token_loss=True,
        **_recompute_options(options.recompute),
        # On a CPU this would make the embedding an indexing whose backward pass adds from several
        # threads in any order; the lookup it replaces is deterministic there.
        deterministic_mode=options.deterministic and torch.cuda.is_available(),
    )


def _compiles() -> bool:
    """Tells whether Megatron's small functions, which torch compiles, can run here.

    On a GPU torch compiles by Triton, which needs a C compiler and Python's headers. On a CPU the
    shim leaves them as they are, and this package's own kernels are faster.
    """
    return (
        torch.cuda.is_available()
        and importlib.util.find_spec("triton") is not None
        and any(map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang")))
        and Path(sysconfig.get_path("include"), "Python.h").exists()
    )


def _recompute_options(recompute: Literal["none", "selective", "full"]) -> dict[str, Any]:
    if recompute == "full":
        return {
            "recompute_granularity": "full",
            "recompute_method": "uniform",
            "recompute_num_layers": 1,
        }
    if recompute == "selective":  # attention kernels keep little as it is
        return {"recompute_granularity": "selective", "recompute_modules": ["mlp"]}
    return {}


class PackedGPTModel(GPTModel):  # type: ignore[misc]  # Megatron is untyped
    """Megatron's GPT over packed documents, with logits only where they are wanted.

    Shape legend: t tokens of the micro batch, r target rows, h hidden size, v padded vocabulary.
    """

    def __init__(
        self,
        config: TransformerConfig,
        model: ModelParams,
        vocab_size: int,
        options: BuildOptions,
    ) -> None:
        backend = options.attention
        super().__init__(
            config=config,
            transformer_layer_spec=layer_specs(config, backend),
            vocab_size=padded_vocab_size(vocab_size, options.vocabulary_multiple),
            max_sequence_length=model.max_positions,
            share_embeddings_and_output_weights=model.tied_embeddings,
            position_embedding_type="rope" if backend == "te" else "none",
            rotary_base=model.rope_base,
            pre_process=parallel_state.is_pipeline_first_stage(),
            post_process=parallel_state.is_pipeline_last_stage(),
        )
        self.backend = backend
        self.unpadded_vocab_size = vocab_size
        cos, sin = rope_tables(model)
        self.register_buffer("rope_cos", cos, persistent=False)
        self.register_buffer("rope_sin", sin, persistent=False)

    def forward(self, *args: Any, packed_seq_params: PackedDocuments, **kwargs: Any) -> Tensor:
        """Returns logits [1, r, v], or with ``labels`` [1, r] the losses [1, r].

        A pipeline stage before the last one returns the hidden states that the next one needs.
        """
        if self.backend != "te":
            positions = packed_seq_params.positions
            packed_seq_params = replace(
                packed_seq_params,
                rope=(self.rope_cos[positions], self.rope_sin[positions]),
            )
        with quiet():
            output: Tensor = super().forward(*args, packed_seq_params=packed_seq_params, **kwargs)
        return output

    def compute_language_model_loss(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Returns the cross entropies [1, r] of this rank's logits [r, 1, v], in nats."""
        logits = logits[: labels.shape[1]]  # without the rows that fill up
        ranks: int = parallel_state.get_tensor_model_parallel_world_size()
        width = logits.shape[-1]
        first = parallel_state.get_tensor_model_parallel_rank() * width
        real = min(max(self.unpadded_vocab_size - first, 0), width)
        if logits.dtype != torch.float32:
            group = parallel_state.get_tensor_model_parallel_group() if ranks > 1 else None
            return cross_entropy(
                logits.flatten(0, 1), labels.flatten(), first=first, real=real, group=group
            ).unsqueeze(0)
        if ranks == 1:
            rows = logits.flatten(0, 1)[:, :real].float()
            loss = functional.cross_entropy(rows, labels.flatten(), reduction="none")
            return loss.unsqueeze(0)
        if real < width:
            lowest = torch.finfo(logits.dtype).min
            logits = torch.cat([logits[..., :real], logits[..., real:].detach() * 0 + lowest], -1)
        sharded: Tensor = super().compute_language_model_loss(labels, logits)
        return sharded


def build_model(
    model: ModelParams, vocab_size: int, options: BuildOptions | None = None
) -> PackedGPTModel:
    """Builds the model; its weights are undefined until ``load_tensors``.

    Megatron's model-parallel state has to be initialised (``one_rank`` does it for one process).
    Under ``torch.device("meta")`` no memory is taken.
    """
    options = options or BuildOptions()
    with quiet():
        config = transformer_config(model, options)
        module = PackedGPTModel(config, model, vocab_size, options)
    _mark_shares(module)
    return module


def _mark_shares(module: PackedGPTModel) -> None:
    """Marks what tensor-parallel ranks share: Megatron does so only when it draws initial weights.

    Gradient norms count what is not marked once, on the first rank.
    """
    for part in module.modules():
        if isinstance(part, tensor_parallel.RowParallelLinear):
            side = 1
        elif isinstance(
            part, tensor_parallel.ColumnParallelLinear | tensor_parallel.VocabParallelEmbedding
        ):
            side = 0
        else:
            continue
        if part.weight is not None:
            tensor_parallel.set_tensor_model_parallel_attributes(
                part.weight, is_parallel=True, dim=side, stride=1
            )


def padded_vocab_size(vocab_size: int, multiple: int) -> int:
    """Returns the vocabulary rounded up so that it divides as ``BuildOptions`` says."""
    unit = math.lcm(multiple, parallel_state.get_tensor_model_parallel_world_size())
    return -(-vocab_size // unit) * unit


def rope_tables(model: ModelParams) -> tuple[Tensor, Tensor]:
    """Returns cosines and sines [positions, 1, d], both halves alike (Llama's layout)."""
    head = model.hidden_size // model.attention_heads
    exponents = torch.arange(0, head, 2, dtype=torch.float32) / head
    frequencies = 1.0 / (model.rope_base**exponents)
    angles = torch.outer(torch.arange(model.max_positions, dtype=torch.float32), frequencies)
    both = torch.cat([angles, angles], dim=-1).unsqueeze(1)
    return both.cos(), both.sin()
