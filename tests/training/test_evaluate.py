from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch

from minilingua.megatron_model.megatron import quiet
from minilingua.training.engine import DivergenceError
from minilingua.training.evaluate import evaluate, standard_error
from tests.training.engines import engine_of, opened
from tests.training.workspace import Workspace


@pytest.fixture(autouse=True)
def _quietly() -> Iterable[None]:
    with quiet():
        yield


def never() -> bool:
    return False


def test_evaluation_and_training_loss_of_the_same_data_are_equal(workspace: Workspace) -> None:
    validation = opened(workspace.params, "validation")
    engine = engine_of(workspace, train=validation)
    evaluated = evaluate(engine, validation, 0, never)
    assert evaluated is not None
    trained = engine.train_step(1)
    assert evaluated.loss == trained.loss
    assert evaluated.supervised_tokens == trained.supervised_tokens


def test_total_is_the_mean_over_the_tokens_of_all_languages(workspace: Workspace) -> None:
    validation = opened(workspace.params, "validation")
    event = evaluate(engine_of(workspace), validation, 7, never)
    assert event is not None
    assert event.step == 7
    assert event.languages.keys() == {"en", "fi", "bg"}
    parts = event.languages.values()
    assert sum(part.supervised_tokens for part in parts) == event.supervised_tokens
    total = sum(part.loss * part.supervised_tokens for part in parts)
    assert event.loss == pytest.approx(total / event.supervised_tokens, rel=1e-12)


def test_a_language_has_the_loss_that_it_has_alone(workspace: Workspace) -> None:
    validation = opened(workspace.params, "validation")
    engine = engine_of(workspace, micro_batch=99)
    whole = evaluate(engine, validation, 0, never)
    assert whole is not None
    packs = {validation.plan.pack(n)[0].language: n for n in range(validation.plan.packs)}
    for code, last in packs.items():
        numbers = [n for n in range(last + 1) if validation.plan.pack(n)[0].language == code]
        begin, end = (validation.plan.pack_offsets[i] for i in (numbers[0], numbers[-1] + 1))
        plan = replace(
            validation.plan,
            conversations=validation.plan.conversations[int(begin) : int(end)],
            pack_offsets=validation.plan.pack_offsets[numbers[0] : numbers[-1] + 2] - begin,
            step_offsets=validation.plan.step_offsets * 0
            + torch.tensor([0, len(numbers)]).numpy().astype("uint64"),
        )
        alone = evaluate(engine, replace(validation, plan=plan), 0, never)
        assert alone is not None
        assert alone.loss == pytest.approx(whole.languages[code].loss, rel=1e-6)
        error = whole.languages[code].standard_error
        assert alone.standard_error == pytest.approx(error, rel=1e-4)


def test_dropout_is_off_and_training_goes_on_with_it(workspace: Workspace) -> None:
    validation = opened(workspace.params, "validation")
    plain = evaluate(engine_of(workspace), validation, 0, never)
    engine = engine_of(workspace, hidden_dropout=0.5, attention_dropout=0.5)
    assert evaluate(engine, validation, 0, never) == plain
    assert engine.model.training


def test_a_stop_request_ends_it_early(workspace: Workspace) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 2

    engine = engine_of(workspace, micro_batch=1)
    assert evaluate(engine, opened(workspace.params, "validation"), 0, stop) is None
    assert len(asked) == 2
    assert engine.model.training


def test_a_loss_that_is_not_finite_is_told(workspace: Workspace) -> None:
    engine = engine_of(workspace)
    with torch.no_grad():
        engine.model.decoder.final_layernorm.weight.fill_(torch.inf)
    with pytest.raises(DivergenceError, match="step 3: the validation loss"):
        evaluate(engine, opened(workspace.params, "validation"), 3, never)


def test_the_standard_error_is_that_of_drawing_other_conversations() -> None:
    """Against the bootstrap: means of conversations drawn with replacement."""
    generator = np.random.default_rng(0)
    tokens = generator.integers(1, 30, 400).astype(float)
    losses = tokens * (2 + generator.normal(0, 0.5, 400))
    drawn = generator.integers(0, 400, (4000, 400))
    means = losses[drawn].sum(axis=1) / tokens[drawn].sum(axis=1)
    found = standard_error(np.stack([losses, tokens]))
    assert found == pytest.approx(means.std(), rel=0.05)


def test_the_standard_error_of_two_conversations_is_the_formulas() -> None:
    sums = np.array([[4.0, 3.0], [2.0, 1.0]])  # the loss is 7/3, both are 2/3 off it
    assert standard_error(sums) == pytest.approx(np.sqrt(2 / (2 - 1) * 8 / 9) / 3)


def test_conversations_without_targets_say_nothing_about_the_error() -> None:
    sums = np.array([[4.0, 0.0, 3.0], [2.0, 0.0, 1.0]])
    assert standard_error(sums) == standard_error(sums[:, [0, 2]])
    assert standard_error(sums[:, :2]) is None
    assert standard_error(sums[:, :0]) is None


def test_every_evaluation_has_its_standard_errors(workspace: Workspace) -> None:
    event = evaluate(engine_of(workspace), opened(workspace.params, "validation"), 0, never)
    assert event is not None
    assert event.standard_error is not None
    assert 0 < event.standard_error < event.loss
    assert all(found.standard_error for found in event.languages.values())
