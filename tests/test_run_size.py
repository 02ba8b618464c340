"""The size of a run, told before its data is there."""

from pathlib import Path

import pytest

from minilingua.configure import compose_params, main
from minilingua.run_size import estimate_run

CONF = Path(__file__).parents[1] / "conf"


def test_triton_is_the_billion_parameter_model_on_large_packed_steps() -> None:
    size = estimate_run(compose_params(["experiment=triton"], CONF))
    assert size.parameters == pytest.approx(1.11e9 + 0.20e9, rel=0.01)
    assert size.tokens_per_step == 131_072
    assert size.steps == round(0.97 * 216_805_767 / 131_072)


def test_the_reference_steps_by_conversations() -> None:
    size = estimate_run(compose_params(["experiment=triton_reference"], CONF))
    assert size.tokens_per_step == pytest.approx(41_000, rel=0.02)
    assert size.steps == round(0.97 * 5_340)


def test_of_generated_data_nothing_is_assumed() -> None:
    size = estimate_run(compose_params(["experiment=sample"], CONF))
    assert (size.tokens_per_step, size.steps) == (2048, None)
    by_conversations = ["pack.global_batch_unit=conversations", "pack.global_batch=8"]
    size = estimate_run(compose_params(["experiment=sample", *by_conversations], CONF))
    assert (size.tokens_per_step, size.steps) == (None, None)


@pytest.mark.parametrize(
    ("experiment", "said"),
    [
        ("triton", "1,304,004,096 parameters, about 131,072 tokens a step, about 1,604 steps"),
        (
            "triton_reference",
            "1,304,004,096 parameters, about 40,601 tokens a step, about 5,180 steps",
        ),
        ("sample", "4,737,792 parameters, about 2,048 tokens a step; `dvc repro pack` tells"),
    ],
)
def test_configure_tells_the_size(
    experiment: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(CONF.parent)
    assert main([f"experiment={experiment}", "--output", str(tmp_path / "params.yaml")]) == 0
    assert said in capsys.readouterr().out
