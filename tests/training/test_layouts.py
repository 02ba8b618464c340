"""Several ranks compute what one does, however they share the work, and take up others' states.

Real processes over gloo, started once for all layouts of two ranks and once for those of four
(layout_program.py). The vocabulary is odd, so tensor parallelism pads it, and a step's packs do not
divide between two data-parallel ranks.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from minilingua.core.events import StepEvent
from minilingua.launch.ranks import ranks_command
from minilingua.megatron_model.megatron import quiet
from minilingua.training.checkpoint import Progress, load_checkpoint
from minilingua.training.engine import Engine
from minilingua.training.evaluate import evaluate
from minilingua.training.saving import save_checkpoint
from tests.training.engines import engine_of, opened, without_targets
from tests.training.layout_program import (
    COMBINED,
    CUTS,
    KEY,
    LAST,
    LAYOUTS,
    SAVED_AT,
    UNTAUGHT,
    VOCABULARIES,
    half_precision_logits,
)
from tests.training.workspace import REPOSITORY, Workspace, make_workspace

CLOSE = 1e-5
"""Relative: sums in another order."""
HALF = ("bf16", "bf16, fully sharded")
ALL = [*LAYOUTS, *COMBINED]


@dataclass(frozen=True, kw_only=True)
class Ring:
    """What one rank and the layouts came to."""

    workspace: Workspace
    directory: Path
    steps: list[StepEvent]
    base: dict[str, Tensor]
    weights: dict[str, Tensor]
    evaluation: dict[str, Any]

    def found(self, layout: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / f"{layout}.json").read_text())
        return found

    def tensors(self, layout: str) -> dict[str, dict[str, Tensor]]:
        tensors: dict[str, dict[str, Tensor]] = torch.load(self.directory / f"{layout}.pt")
        return tensors


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    root = tmp_path_factory.mktemp("layouts")
    workspace = make_workspace(
        root / "root", vocabulary=67, packs_per_step=5, train={"micro_batch": 1, "lr": 1e-3}
    )
    with pytest.MonkeyPatch.context() as patch, quiet():
        patch.chdir(workspace.root)
        engine = engine_of(workspace)
        base = engine.weights()
        steps = [engine.train_step(step) for step in range(1, SAVED_AT + 1)]
        evaluation = evaluate(
            engine, opened(workspace.params, "validation"), SAVED_AT, lambda: False
        )
        assert evaluation is not None
        save_checkpoint(engine, Progress(step=SAVED_AT, history=()), root / "one", KEY)
        weights = engine.weights()
        steps += [engine.train_step(step) for step in range(SAVED_AT + 1, LAST + 1)]
        command = [sys.executable, "-m", "tests.training.layout_program", str(root)]
        for ranks in (2, 4):
            done = subprocess.run(
                ranks_command(ranks, command),
                env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'src'}"},
                capture_output=True,
                text=True,
                timeout=200,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        yield Ring(
            workspace=workspace,
            directory=root,
            steps=steps,
            base=base,
            weights=weights,
            evaluation=asdict(evaluation),
        )


def assert_same_steps(found: list[dict[str, Any]], expected: list[StepEvent]) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours["loss"] == pytest.approx(theirs.loss, rel=CLOSE)
        assert ours["grad_norm"] == pytest.approx(theirs.grad_norm, rel=CLOSE)
        for exact in ("step", "learning_rate", "sample_digest", "tokens", "supervised_tokens"):
            assert ours[exact] == getattr(theirs, exact), exact


@pytest.mark.parametrize("layout", ALL)
def test_losses_and_gradient_norms_are_those_of_one_rank(ring: Ring, layout: str) -> None:
    assert_same_steps(ring.found(layout)["steps"], ring.steps)


@pytest.mark.parametrize("cut", [name for name, changes in CUTS.items() if changes])
def test_two_ranks_may_join_any_number_of_packs(ring: Ring, cut: str) -> None:
    assert_same_steps(ring.found(cut)["steps"], ring.steps[:1])


def test_a_rank_without_supervised_tokens_adds_nothing_and_is_counted(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ring.workspace.root)
    split = without_targets(opened(ring.workspace.params), UNTAUGHT)
    expected = engine_of(ring.workspace, train=split).train_step(1)
    assert expected.packs_without_targets == len(UNTAUGHT)
    found = ring.found("a rank without targets")["steps"]
    assert_same_steps(found, [expected])
    assert found[0]["packs_without_targets"] == len(UNTAUGHT)


@pytest.mark.parametrize("layout", ALL)
def test_a_layout_takes_up_what_another_has_saved(ring: Ring, layout: str) -> None:
    assert_same_steps(ring.found(layout)["taken_up"], ring.steps[SAVED_AT:])


def test_one_rank_takes_up_what_the_last_layout_has_saved(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ring.workspace.root)
    engine = resumed(ring, ALL[-1])
    events = [asdict(engine.train_step(step)) for step in range(SAVED_AT + 1, LAST + 1)]
    assert_same_steps(events, ring.steps[SAVED_AT:])


def resumed(ring: Ring, layout: str) -> Engine:
    engine = engine_of(ring.workspace)
    with quiet():
        load_checkpoint(engine, ring.directory / layout / f"step_{SAVED_AT:08d}")
    return engine


@pytest.mark.parametrize("layout", [*ALL, *HALF])
def test_the_same_layout_goes_on_bit_for_bit(ring: Ring, layout: str) -> None:
    found = ring.found(layout)
    assert found["resumed"] == found["steps"][SAVED_AT : SAVED_AT + 1]


@pytest.mark.parametrize("layout", ALL)
def test_evaluation_is_that_of_one_rank(ring: Ring, layout: str) -> None:
    found = ring.found(layout)["evaluation"]
    assert found["loss"] == pytest.approx(ring.evaluation["loss"], rel=CLOSE)
    for code, expected in ring.evaluation["languages"].items():
        assert found["languages"][code]["loss"] == pytest.approx(expected["loss"], rel=CLOSE)
        assert found["languages"][code]["supervised_tokens"] == expected["supervised_tokens"]


@pytest.mark.parametrize("layout", ALL)
def test_weights_are_cut_and_joined_without_a_change(ring: Ring, layout: str) -> None:
    tensors = ring.tensors(layout)
    for name, tensor in ring.base.items():
        assert torch.equal(tensors["base"][name], tensor), name
        torch.testing.assert_close(
            tensors["weights"][name], ring.weights[name], rtol=1e-4, atol=1e-5, msg=name
        )


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_ranks_that_share_the_vocabulary_have_the_same_half_precision_losses(
    ring: Ring, vocabulary: int
) -> None:
    losses, gradients = torch.load(ring.directory / "cross entropy.pt")[str(vocabulary)]
    logits, labels = half_precision_logits(vocabulary)
    exact = logits.float().requires_grad_()
    expected = functional.cross_entropy(exact, labels, reduction="none")
    torch.testing.assert_close(losses, expected.detach(), rtol=1e-5, atol=1e-5)
    (expected_gradients,) = torch.autograd.grad(expected.sum(), exact)
    torch.testing.assert_close(gradients, expected_gradients.bfloat16(), rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize("layout", HALF)
def test_shared_bf16_weights_are_read_in_full_precision(ring: Ring, layout: str) -> None:
    weights = ring.tensors(layout)["weights"]
    rounded = [torch.equal(tensor, tensor.bfloat16().float()) for tensor in weights.values()]
    assert not any(rounded)


def test_fully_sharded_ranks_hold_a_part_and_compute_the_same_in_half_precision(
    ring: Ring,
) -> None:
    assert ring.found("data")["share_held"] == 1
    assert ring.found("fully sharded")["share_held"] == pytest.approx(0.5, abs=0.02)
    sharded, whole = (ring.found(layout)["steps"] for layout in reversed(HALF))
    for ours, theirs in zip(sharded, whole, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
