import json

import pytest

from minilingua.core.errors import DataError
from minilingua.core.files import write_text
from minilingua.provenance.lineage import dvc_md5
from minilingua.provenance.training_record import read_published
from minilingua.tracking.track import main
from tests.tracking.workspace import RUN_KEY, Workspace, training_events


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
    assert dump["aliases"] == [("minilingua-sample", "candidate", 1)]
    datasets = {name: json.loads(profile) for name, _, _, profile in dump["datasets"]}
    assert datasets["exams"]["licence"] == "Unicode-3.0"
    assert datasets["exams"]["rows"] == 11
    assert {"conversations/train", "conversations/validation", "conversations/test"} < set(datasets)
    assert len(dump["inputs"]) == len(datasets) == 5


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
    assert len(keys) == 2 * (4 * 2 + 1) + 3 * (1 + 1)
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
    assert dump["aliases"] == [("minilingua-sample", "candidate", 2)]


def lock_file(workspace: Workspace, *, exported: bool, evaluated: bool) -> None:
    """Writes what DVC records, ``exported``, ``evaluated``: those stages have run again."""
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
                        "deps": [{"path": "src/minilingua/training", "md5": "c0de.dir"}],
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


def test_a_broken_evaluation_is_one_line(workspace: Workspace) -> None:
    workspace.whole_line()
    write_text(workspace.root / "reports/evaluation.json", '[{"model": "base"}]')
    with pytest.raises(DataError, match=r"reports/evaluation.json: 0\.\w+: Field required"):
        track()
