import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from minilingua import cli
from minilingua.core.errors import DataError
from minilingua.core.events import EndEvent, EvaluationEvent, Event
from minilingua.core.files import sha256_file, write_text
from minilingua.provenance.lineage import dvc_md5
from minilingua.provenance.training_record import read_published
from minilingua.tracking.store import locked_store
from minilingua.tracking.track import main
from tests.tracking.workspace import RUN_KEY, Workspace, telemetry_of, training_events


def track(*arguments: str) -> None:
    assert main(["--quiet", *arguments]) == 0


def test_everything_of_a_line_is_attached(workspace: Workspace) -> None:
    workspace.whole_line()
    track()
    assert workspace.artifacts() == {
        "data/conversations/manifest.json",
        "data/raw/manifest.json",
        "evaluation/evaluation.json",
        "evaluation/scores.json",
        "model/config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "params.json",
        "passport.json",
        "reports/mixture.csv",
        "training/early_stopping.json",
        "training/events.jsonl",
        "training/loss.csv",
        "training/training_loss.png",
    }
    dump = workspace.dump()
    assert dump["versions"] == [("minilingua-sample", 1)]
    assert dump["aliases"] == [
        ("minilingua-sample", "best", 1),
        ("minilingua-sample", "candidate", 1),
    ]
    datasets = {name: json.loads(profile) for name, _, _, profile in dump["datasets"]}
    assert datasets["exams"]["licence"] == "Unicode-3.0"
    assert datasets["exams"]["rows"] == 11
    assert {"conversations/train", "conversations/validation", "conversations/test"} < set(datasets)
    assert len(dump["inputs"]) == len(datasets) == 5


def test_a_run_is_searched_by_what_its_passport_tells(workspace: Workspace) -> None:
    workspace.prepare_data()
    start: dict[str, Any] = {
        "device": "NVIDIA H200",
        "driver": "570.86.15",
        "image_digest": "sha256:1",
    }
    workspace.begin(**start)
    for event, telemetry in telemetry_of(training_events()):
        workspace.add(event, telemetry)
    workspace.publish()
    workspace.export()
    workspace.evaluate()
    track()
    tags = workspace.tags()
    (passport,) = workspace.root.glob("mlruns/*/*/artifacts/passport.json")
    assert tags["minilingua.passport.sha256"] == sha256_file(passport)
    told = {name: tags[f"minilingua.passport.{name}"] for name in ("device", "driver", "image")}
    assert told == {"device": "NVIDIA H200", "driver": "570.86.15", "image": "sha256:1"}
    with locked_store() as store:
        found = store.client.search_runs(
            [store.experiment_id], filter_string="tags.`minilingua.passport.image` = 'sha256:1'"
        )
    assert [run.data.tags["minilingua.run_key"] for run in found] == [RUN_KEY]


def test_the_passport_is_left_out_where_the_code_is_another(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.whole_line()
    lock_file(workspace, exported=True, evaluated=True)
    write_text(workspace.root / "src/minilingua/training/loop.py", "# other code")
    assert main([]) == 0
    assert "passport.json" not in workspace.artifacts()
    told = capsys.readouterr().out
    assert "left out: the passport: src/minilingua/training: changed since a stage read it" in told


def test_of_a_model_by_reference_all_but_the_weights_is_kept(workspace: Workspace) -> None:
    workspace.whole_line()
    track()
    assert "model/model.safetensors" in workspace.artifacts()
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("  model: copy", "  model: reference"))
    track()
    kept = {name for name in workspace.artifacts() if name.startswith("model/")}
    assert kept == {"model/config.json", "model/tokenizer.json", "model/reference.json"}
    (reference,) = workspace.root.glob("mlruns/*/*/artifacts/model/reference.json")
    weights = Path("models/hf/model.safetensors")
    assert json.loads(reference.read_text()) == {
        "path": "models/hf",
        "dvc_md5": None,  # there is no dvc.lock here
        "weights": {
            weights.name: {"sha256": sha256_file(weights), "bytes": weights.stat().st_size}
        },
    }
    assert workspace.dump()["versions"] == [("minilingua-sample", 2)]
    with locked_store() as store:
        version = store.client.get_model_version_by_alias("minilingua-sample", "candidate")
    assert version.tags["minilingua.kept"] == "reference"
    again = workspace.dump(), workspace.artifact_times()
    track()
    assert (workspace.dump(), workspace.artifact_times()) == again


def shifted(by: float) -> list[Event]:
    """A training with other validation losses."""
    return [
        replace(event, best_loss=event.best_loss + by)
        if isinstance(event, EndEvent)
        else replace(event, loss=event.loss + by)
        if isinstance(event, EvaluationEvent)
        else event
        for event in training_events()
    ]


def another_training(workspace: Workspace, run_key: str, by: float) -> None:
    """Trains to other losses, exports and evaluates."""
    events = shifted(by)
    workspace.train(events, run_key=run_key)
    workspace.publish(events)
    workspace.export(value=by)
    workspace.evaluate()
    track()


def test_best_is_the_version_with_the_lowest_loss(workspace: Workspace) -> None:
    workspace.whole_line()
    track()

    def aliases() -> dict[str, int]:
        return {alias: version for _, alias, version in workspace.dump()["aliases"]}

    assert aliases() == {"candidate": 1, "best": 1}
    another_training(workspace, "a" * 16, 0.5)
    assert aliases() == {"candidate": 2, "best": 1}
    another_training(workspace, "b" * 16, -0.5)
    assert aliases() == {"candidate": 3, "best": 3}
    another_training(workspace, "c" * 16, 0.0)
    assert aliases() == {"candidate": 4, "best": 3}
    main(["--quiet"])
    assert aliases() == {"candidate": 4, "best": 3}


def test_losses_on_other_data_are_no_match(workspace: Workspace) -> None:
    def trained_on(tokens: str) -> None:
        stages = {
            "train": {"deps": [{"path": "data/tokens", "md5": tokens}], "outs": []},
            "convert": {"outs": [{"path": "models/hf", "md5": dvc_md5(Path("models/hf"))}]},
        }
        stages["train"]["outs"] = [
            {"path": "reports/train", "md5": dvc_md5(workspace.root / "reports/train")}
        ]
        write_text(workspace.root / "dvc.lock", json.dumps({"schema": "2.0", "stages": stages}))

    workspace.whole_line()
    for tokens, by in (("1.dir", -0.5), ("2.dir", 0.5), ("1.dir", 0.0)):
        events = shifted(by)
        workspace.train(events, run_key=f"{tokens[0]}{by:+.1f}".ljust(16, "0"))
        workspace.publish(events)
        workspace.export(value=by)
        trained_on(tokens)
        track()
        found = {alias: version for _, alias, version in workspace.dump()["aliases"]}
        assert (
            found
            == {
                ("1.dir", -0.5): {"candidate": 1, "best": 1},
                ("2.dir", 0.5): {"candidate": 2, "best": 2},  # of these data, the only one
                ("1.dir", 0.0): {"candidate": 3, "best": 1},
            }[tokens, by]
        )


def test_of_trainings_that_went_the_same_way_the_current_one_has_the_model(
    workspace: Workspace,
) -> None:
    workspace.train(run_key="a" * 16)  # before a change of code that changes no number
    workspace.whole_line()
    assert read_published().run_key == RUN_KEY
    workspace.begin("a" * 16, attempt=2)  # as the worker does when it publishes a run again
    assert read_published().run_key == "a" * 16


def test_headline_scores_are_metrics_and_all_scores_a_table(workspace: Workspace) -> None:
    workspace.whole_line()
    track()
    assert workspace.metric("evaluation_result/mcqa_text_accuracy") == {0: 0.75}
    assert workspace.metric("evaluation_result/mcqa_letter_chance") == {0: 0.25}
    assert workspace.metric("evaluation_base/mcqa_text_accuracy") == {0: 0.25}
    assert workspace.metric("evaluation_base/loss") == {0: 3.0}
    assert workspace.metric("evaluation_text_accuracy/fi") == {0: 0.75}
    assert workspace.metric("evaluation_loss/bg") == {0: 2.5}
    keys = {key for key, *_ in workspace.dump()["metrics"] if key.startswith("evaluation_")}
    assert len(keys) == 2 * (4 * 2 + 2) + 3 * (1 + 1)
    (table,) = workspace.root.glob("mlruns/*/*/artifacts/evaluation/scores.json")
    rows = json.loads(table.read_text())
    assert len(rows["data"]) == len(
        json.loads((workspace.root / "reports/evaluation.json").read_text())
    )
    assert {"model", "task", "language", "value", "stderr", "n"} <= set(rows["columns"])


def test_another_evaluation_becomes_the_latest(workspace: Workspace) -> None:
    workspace.whole_line()
    track()
    workspace.evaluate(accuracy=0.6)
    track()
    track()
    key = "evaluation_result/mcqa_text_accuracy"
    assert workspace.metric(key) == {0: 0.75, 1: 0.85}
    assert (key, 1, 0.85) in workspace.dump()["latest"]
    assert workspace.metric("evaluation_result/mcqa_text_chance") == {0: 0.25}


def test_another_export_replaces_files_and_version(workspace: Workspace) -> None:
    workspace.whole_line()
    write_text(workspace.root / "models/hf/shard-2.safetensors", "only in the first export")
    track()
    assert "model/shard-2.safetensors" in workspace.artifacts()
    workspace.export(value=2.0)
    track()
    assert "model/shard-2.safetensors" not in workspace.artifacts()
    dump = workspace.dump()
    assert dump["versions"] == [("minilingua-sample", 2)]
    assert dump["aliases"] == [
        ("minilingua-sample", "best", 2),
        ("minilingua-sample", "candidate", 2),
    ]


def lock_file(workspace: Workspace, *, exported: bool, evaluated: bool) -> None:
    """Writes what DVC records, ``exported``, ``evaluated``: those stages have run again."""
    code = workspace.root / "src/minilingua/training/loop.py"
    write_text(code, "# what trains\n")
    disk = {
        path: dvc_md5(workspace.root / path)
        for path in ("reports/train", "models/hf", "reports/evaluation.json")
    }
    write_text(
        workspace.root / "dvc.lock",
        json.dumps(
            {
                "schema": "2.0",
                "stages": {
                    "train": {
                        "deps": [{"path": "src/minilingua/training", "md5": dvc_md5(code.parent)}],
                        "outs": [
                            {"path": "models/megatron", "md5": "new.dir"},
                            {"path": "reports/train", "md5": disk["reports/train"]},
                        ],
                    },
                    "convert": {
                        "deps": [
                            {
                                "path": "models/megatron",
                                "md5": "new.dir" if exported else "old.dir",
                            }
                        ],
                        "outs": [{"path": "models/hf", "md5": disk["models/hf"]}],
                    },
                    "evaluate": {
                        "deps": [
                            {"path": "models/hf", "md5": disk["models/hf"] if evaluated else "old"}
                        ],
                        "outs": [
                            {
                                "path": "reports/evaluation.json",
                                "md5": disk["reports/evaluation.json"],
                            }
                        ],
                    },
                },
            }
        ),
    )


@pytest.mark.parametrize(
    ("exported", "evaluated", "after", "model", "evaluation"),
    [
        (True, True, None, True, True),
        (True, False, None, True, False),
        (False, True, None, False, False),
        (False, False, "convert", True, False),
        (True, False, "evaluate", True, True),
    ],
)
def test_outputs_of_an_earlier_training_are_not_told_of_this_one(
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
    exported: bool,
    evaluated: bool,
    after: str | None,
    model: bool,
    evaluation: bool,
) -> None:
    workspace.whole_line()
    lock_file(workspace, exported=exported, evaluated=evaluated)
    assert main(["--after", after] if after else []) == 0
    artifacts = workspace.artifacts()
    assert ("model/model.safetensors" in artifacts) == model
    assert ("evaluation/evaluation.json" in artifacts) == evaluation
    assert ("passport.json" in artifacts) == evaluation
    told = capsys.readouterr().out
    assert ("models/hf is not the export of this training" in told) != model


def test_a_training_that_dvc_has_not_recorded_yet_has_no_model(workspace: Workspace) -> None:
    workspace.whole_line()
    lock_file(workspace, exported=True, evaluated=True)
    workspace.train(training_events(8), run_key="c" * 16)
    workspace.publish(training_events(8))  # DVC still tells of the run before
    track()
    assert not any(name.startswith(("model/", "evaluation/")) for name in workspace.artifacts())


def test_a_page_on_an_earlier_result_is_not_told_of_this_one(workspace: Workspace) -> None:
    workspace.whole_line()
    assert cli.main(["report"]) == 0
    track()
    assert "reports/index.html" in workspace.artifacts()
    workspace.evaluate(accuracy=0.75)
    before = workspace.artifact_times()["reports/index.html"]
    write_text(Path("reports/index.html"), Path("reports/index.html").read_text() + "<!-- -->")
    Path("reports/preview.html").write_bytes(b'\xff<meta name="made-from" content="other">')
    track()
    assert workspace.artifact_times()["reports/index.html"] == before
    assert "reports/preview.html" not in workspace.artifacts()
    write_text(Path("reports/preview.html"), '<meta name="made-from" content="unrecorded">')
    assert cli.main(["report"]) == 0
    track()
    assert workspace.artifact_times()["reports/index.html"] > before
    assert "reports/preview.html" in workspace.artifacts()


def test_a_broken_evaluation_is_one_line(workspace: Workspace) -> None:
    workspace.whole_line()
    write_text(workspace.root / "reports/evaluation.json", '[{"model": "base"}]')
    with pytest.raises(DataError, match=r"reports/evaluation.json: 0\.\w+: Field required"):
        track()
