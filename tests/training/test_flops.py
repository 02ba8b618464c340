from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from minilingua.megatron_model.megatron import quiet
from minilingua.training.engine import Engine
from minilingua.training.flops import StepWork, peak_flops, step_flops
from tests.training.engines import engine_of, opened
from tests.training.workspace import VOCABULARY, Workspace


def work_of(engine: Engine, step: int) -> StepWork:
    contents = engine.train.contents(step)
    return contents.work


def counted(engine: Engine) -> int:
    """What torch counts of the first step, matrix products and attention, both ways."""
    with quiet(), FlopCounterMode(display=False) as counter:
        engine.train_step(1)
    return int(counter.get_total_flops())


def test_matrices_are_what_torch_counts(workspace: Workspace) -> None:
    """torch counts matrix products; of attention it knows the kernels of GPUs only."""
    engine = engine_of(workspace)
    without_attention = replace(work_of(engine, 0), squared_lengths=0)
    assert counted(engine) == step_flops(workspace.params.model, VOCABULARY, without_attention)


def test_attention_is_half_of_two_products_three_times(workspace: Workspace) -> None:
    model = workspace.params.model
    head = model.hidden_size // model.attention_heads
    query = torch.zeros(model.attention_heads, 17, head)
    with FlopCounterMode(display=False) as counter:
        torch.bmm(torch.bmm(query, query.transpose(1, 2)), query)
    work = StepWork(tokens=0, targets=0, squared_lengths=17 * 17)
    expected = 3 * counter.get_total_flops() * model.layers / 2
    assert step_flops(model, VOCABULARY, work) == expected


def test_attention_counts_documents_not_packs() -> None:
    from minilingua.params_file import load_params
    from tests.training.workspace import REPOSITORY

    model = load_params(REPOSITORY / "params.yaml").model
    one = StepWork(tokens=2048, targets=500, squared_lengths=2048**2)
    many = StepWork(tokens=2048, targets=500, squared_lengths=16 * 128**2)
    scores = [
        step_flops(model, 0, work)
        - step_flops(model, 0, StepWork(tokens=2048, targets=500, squared_lengths=0))
        for work in (one, many)
    ]
    assert scores[0] == pytest.approx(16 * scores[1])


def test_the_rows_of_a_step_are_those_that_the_model_sees(workspace: Workspace) -> None:
    split = opened(workspace.params)
    batches = list(split.micro_batches(0, rank=0, ranks=1, packs_joined=99))
    work = split.contents(0).work
    assert work.tokens == batches[0].tokens.shape[1]
    assert work.targets == batches[0].labels.shape[1]
    bounds = batches[0].documents.cu_seqlens_q.to(torch.int64)
    assert work.squared_lengths == int(bounds.diff().square().sum())


def test_peaks_are_known_of_named_gpus_only() -> None:
    assert (
        peak_flops("NVIDIA H200", "bf16") == peak_flops("NVIDIA H100 80GB HBM3", "bf16") == 989e12
    )
    assert peak_flops("NVIDIA H100 PCIe", "bf16") == 756e12
    assert peak_flops("NVIDIA H100 NVL", "bf16") == 835e12
    assert peak_flops("NVIDIA H20", "bf16") is None
    assert peak_flops("NVIDIA H100", "fp8") == 2 * 989e12
    assert peak_flops("NVIDIA H100", "fp32") is None
    assert peak_flops("cpu", "bf16") is None
