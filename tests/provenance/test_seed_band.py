from dataclasses import replace
from pathlib import Path

import pytest

from minilingua.core.events import EndEvent, EvaluationEvent, Event
from minilingua.core.files import write_json
from minilingua.provenance.grading import grade
from minilingua.provenance.seed_band import SeedBand, best_loss, read_seed_band
from tests.tracking.workspace import Workspace, read_json, training_events


def shifted(by: float) -> list[Event]:
    return [
        replace(event, loss=event.loss + by) if isinstance(event, EvaluationEvent) else event
        for event in training_events()
    ]


def train(workspace: Workspace, seed: int, by: float, *, lr: float = 0.002) -> dict[str, object]:
    key = f"{seed:08d}{round(1e5 * lr):08d}"
    workspace.train(shifted(by), run_key=key)
    path = workspace.run_directory(key) / "run.json"
    about = read_json(path)
    about["params"]["seed"] = seed
    about["params"]["train"]["lr"] = lr
    write_json(path, about)
    params: dict[str, object] = about["params"]
    return params


def test_the_band_is_of_trainings_that_differ_in_the_seed_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(root=tmp_path)
    train(workspace, 1, 0.0)
    params = train(workspace, 2, 0.1)
    train(workspace, 2, 9.0, lr=0.5)  # another training
    assert read_seed_band(params) is None  # two seeds tell nothing of the spread
    train(workspace, 3, -0.1)
    band = read_seed_band({**params, "seed": 99})
    assert band is not None
    assert band.seeds == 3
    assert (band.low, band.high) == pytest.approx((1.2 - 0.2, 1.2 + 0.2))
    assert band.holds(1.35)
    assert not band.holds(1.45)


def test_what_other_seeds_do_as_well_is_statistically_equal() -> None:
    band = SeedBand(low=1.0, high=1.4, seeds=5)
    found = [event for event in shifted(0.1) if not isinstance(event, EndEvent)][:-1]
    assert best_loss(found) == pytest.approx(1.3)
    verdict = grade(["models/hf"], (training_events(8), found), ([], []), band)
    assert verdict.grade == "statistically equal"
    assert "1.3000 lies among those of 5 seeds, 1.0000 to 1.4000" in verdict.reason
    worse = shifted(0.3)
    assert grade(["x"], (training_events(8), worse), ([], []), band).grade == "different"
