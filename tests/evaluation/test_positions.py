"""What does not fit into the models' positions is left out, and counted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minilingua.core.errors import CheckpointError, DataError, MissingInputError
from minilingua.evaluation.losses import open_split, passages_of
from minilingua.evaluation.positions import positions_of
from minilingua.evaluation.stage import run

Make = Callable[..., Any]


def with_positions(world: Path, positions: object) -> None:
    path = world / "models/hf/config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"max_position_embeddings": positions}))


def test_long_conversations_and_prompts_are_left_out_and_counted(
    world: Path, params_for: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    run(params_for(max_new_tokens=6))
    assert "positions" not in capsys.readouterr().err
    lengths = sorted(passage.length for passage in passages_of(open_split("test", ("en", "fi"))))
    longest = lengths[-1]
    fit = sum(length < longest for length in lengths)
    with_positions(world, longest - 1)
    run(params_for(max_new_tokens=longest - 1))
    error = capsys.readouterr().err
    assert (
        f"evaluate: {len(lengths) - fit} of {len(lengths)} conversations of test are longer than "
        f"the models' {longest - 1} positions: no loss of them is taken\n"
    ) in error
    assert (
        "evaluate: 2 of 2 open prompts leave no room for evaluate.max_new_tokens within the "
        f"models' {longest - 1} positions: they are not asked\n"
    ) in error
    items = (world / "reports/evaluation/items.jsonl").read_text().splitlines()
    results = [json.loads(line) for line in items]
    of_result = [item["task"] for item in results if item["model"] == "result"]
    assert of_result.count("loss") == fit
    assert of_result.count("answers") == 0


def test_nothing_that_fits_is_an_error(world: Path, params_for: Make) -> None:
    with_positions(world, 2)
    with pytest.raises(
        DataError, match=r"each of its 10 conversations is longer than the models' 2 positions"
    ):
        run(params_for())


@pytest.mark.parametrize("positions", [None, "many", 0])
def test_a_model_says_its_positions(world: Path, positions: object) -> None:
    with_positions(world, positions)
    with pytest.raises(CheckpointError, match="max_position_embeddings is"):
        positions_of([(Path("models/base"), "x"), (Path("models/hf"), "y")])
    with pytest.raises(MissingInputError, match="minilingua convert"):
        positions_of([(Path("models/none"), "minilingua convert")])
