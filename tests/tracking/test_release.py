import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # it ships no type information
from babel.core import get_global
from huggingface_hub import ModelCard, ModelCardData, metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results

from minilingua import cli
from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import sha256_file, write_text
from minilingua.provenance.data_record import SourceRecord
from minilingua.tracking.card import HubLicence, hub_licence
from minilingua.tracking.release import main
from tests.tracking.workspace import (
    COMMIT,
    RUN_KEY,
    Workspace,
    telemetry_of,
    telemetry_record,
    training_events,
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A finished line; a release needs no store."""
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(root=tmp_path)
    workspace.whole_line()
    return workspace


def test_holds_model_evaluation_card_and_passport(
    root: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 0
    release = root.root / "models/release"
    assert capsys.readouterr().out == "model: models/release/\n"
    assert sorted(path.name for path in release.iterdir()) == [
        "README.md",
        "config.json",
        "evaluation.json",
        "events.jsonl",
        "model.safetensors",
        "passport.json",
        "report.html",
        "tokenizer.json",
    ]
    weights = Path("models/hf/model.safetensors")
    assert weights.samefile(release / "model.safetensors")
    before = {path.name: path.read_bytes() for path in release.iterdir()}
    assert main([]) == 0
    assert {path.name: path.read_bytes() for path in release.iterdir()} == before


def test_the_next_training_leaves_the_release_as_it_is(root: Workspace) -> None:
    assert main([]) == 0
    released = Path("models/release/model.safetensors").read_bytes()
    root.export(value=2.0)
    assert Path("models/release/model.safetensors").read_bytes() == released


def test_a_symbolic_link_of_dvc_is_released_as_a_file(root: Workspace) -> None:
    weights = root.root / "models/hf/model.safetensors"
    cached = weights.rename(root.root / "cached")
    weights.symlink_to(cached)
    assert main([]) == 0
    released = Path("models/release/model.safetensors")
    assert not released.is_symlink()
    assert released.read_bytes() == cached.read_bytes()


def test_the_passport_names_everything(root: Workspace) -> None:
    for arguments in (["init", "--quiet"], ["add", "params.yaml"], ["commit", "-qm", "A line"]):
        identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
        subprocess.run(["git", *identity, *arguments], check=True)
    with Path("params.yaml").open("a") as stream:
        stream.write("# changed\n")
    assert main([]) == 0
    passport = json.loads(Path("models/release/passport.json").read_text())
    assert passport["run_key"] == RUN_KEY
    assert len(passport["code"]["commit"]) == 40
    assert "params.yaml" in passport["code"]["changed"]
    assert len(passport["code"]["patch_sha256"]) == 64
    assert passport["params"]["train"]["lr"] == 1e-3
    assert len(passport["recipe"]["sha256"]) == 64
    assert {"minilingua", "torch", "megatron-core"} <= set(passport["environment"]["packages"])
    assert passport["token_ledger"] == [
        {"language": "en", "planned_share": "0.571429", "conversations": "1200"},
        {"language": "fi", "planned_share": "0.428571", "conversations": "900"},
    ]
    assert passport["early_stopping"] == {"best_step": 8, "best_loss": 1.2}
    assert passport["evaluation"]["result"]["accuracy_text"] == 0.75
    assert set(passport["model"]) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert str(root.root) not in Path("models/release/passport.json").read_text()


def test_the_passport_names_the_image_of_each_attempt(root: Workspace) -> None:
    node = {"host": "gpu50", "image_digest": "sha256:1", "driver": "570.86", "cuda": "12.9"}
    root.add_telemetry(telemetry_record("preflight", 1, 0.0, **node, nccl=None, packages="{}"))
    assert main([]) == 0
    text = Path("models/release/passport.json").read_text()
    (attempt,) = json.loads(text)["attempts"]
    assert attempt["image_digest"] == "sha256:1"
    assert attempt["driver"] == "570.86"
    assert (attempt["first_step"], attempt["last_step"], attempt["outcome"]) == (1, 12, "finished")
    assert "gpu50" not in text


def test_the_passport_tells_of_every_attempt_and_job(root: Workspace) -> None:
    """Without a job, the process that trains tells of its image and driver itself."""
    shutil.rmtree(root.root / "runs")
    gpu: dict[str, Any] = {
        "device": "NVIDIA H200",
        "driver": "570.86.15",
        "image_digest": "sha256:1",
    }
    root.begin(job="4711", **gpu)
    for event, telemetry in telemetry_of(event for event in training_events() if event.step <= 10):
        root.add(event, telemetry)
    root.add_telemetry(telemetry_record("start", 2, 100.0, host="node8", commit="b" * 40, **gpu))
    replayed = (event for event in training_events() if event.step > 8)
    for event, telemetry in telemetry_of(replayed, attempt=2, begins=100.0):
        root.add(event, telemetry)
    root.add_telemetry(telemetry_record("job", 3, 200.0, job=4711, attempts=2, gpu_hours=0.5))
    assert main([]) == 0
    text = Path("models/release/passport.json").read_text()
    passport = json.loads(text)
    shared = {**gpu, "attempt": 1, "slurm_job": "4711"}
    assert passport["attempts"] == [
        {**shared, "commit": COMMIT, "outcome": "killed", "first_step": 1, "last_step": 10},
        {**gpu, "attempt": 2, "commit": "b" * 40, "outcome": "finished", "first_step": 9,
         "last_step": 12},
    ]  # fmt: skip
    assert passport["slurm_jobs"] == [{"job": 4711, "attempts": 2, "gpu_hours": 0.5}]
    assert "node7" not in text
    assert "node8" not in text
    assert set(passport["locks"]) == {
        "containers/requirements.txt", "containers/image.lock", "requirements.lock", "sources.lock",
    }  # fmt: skip


def test_parameters_are_those_that_each_stage_ran_with(root: Workspace) -> None:
    """The export may have run again since the training noted all parameters."""
    about = json.loads((root.run_directory() / "run.json").read_text())
    convert = {**about["params"]["convert"], "dtype": "bfloat16"}
    root.lock(convert=convert)
    assert main([]) == 0
    passport = json.loads(Path("models/release/passport.json").read_text())
    assert passport["params"] == {**about["params"], "convert": convert}


def test_code_that_did_not_make_the_model_is_not_released(root: Workspace) -> None:
    root.lock()
    write_text(root.root / "src/convert.py", "# exports otherwise")
    with pytest.raises(DataError, match=r"^src/convert.py: changed since a stage read it, .*repro"):
        main([])
    assert not (root.root / "models/release").exists()


def test_the_card_names_the_passport(root: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    passport = root.root / "models/release/passport.json"
    named = f"| SHA-256 of passport.json | `{sha256_file(passport)}` |"
    assert named in Path("models/release/README.md").read_text()
    assert cli.main(["passport"]) == 0
    about = json.loads(passport.read_text())
    about["code"]["commit"] = "0" * 40
    passport.write_text(json.dumps(about))
    capsys.readouterr()
    assert cli.main(["passport"]) == 1
    assert "passport.json is not the one that README.md names" in capsys.readouterr().out


@pytest.mark.usefixtures("root")
def test_the_card_has_valid_metadata() -> None:
    assert main([]) == 0
    card = ModelCard.load("models/release/README.md")
    data = card.data.to_dict()
    assert data["language"] == [
        "en",
        "de",
        "es",
        "fr",
        "it",
        "pt",
        "nl",
        "pl",
        "cs",
        "bg",
        "el",
        "fi",
        "sv",
    ]
    assert (data["license"], data["license_name"]) == ("other", "unicode-3.0")
    assert data["library_name"] == "transformers"
    assert "test-model" in data["tags"]
    assert "datasets" not in data  # the sample only imitates them
    (entry,) = data["model-index"]
    results = {
        metric["name"]: metric["value"]
        for result in entry["results"]
        for metric in result["metrics"]
    }
    assert results["Accuracy, answered by text"] == 0.75
    assert yaml.safe_load(card.content.split("---")[1])["model-index"]


@pytest.mark.usefixtures("root")
def test_the_hubs_own_reader_takes_the_metadata() -> None:
    """What the hub checks on a push, without its server: fields, codes, and results."""
    assert main([]) == 0
    found = metadata_load("models/release/README.md")
    assert found is not None
    required = {"language", "license", "library_name", "pipeline_tag", "tags", "model-index"}
    assert required <= found.keys()
    known = get_global("likely_subtags")  # of the CLDR: every language that it has data for
    assert all(len(code) == 2 and code in known for code in found["language"])  # ISO 639-1
    assert found["license_link"].startswith("https://spdx.org/licenses/")
    name, results = model_index_to_eval_results(found["model-index"])
    assert name == "MiniLingua-5m-sample"
    assert {result.metric_type for result in results} == {"accuracy"}
    assert all(0 <= result.metric_value <= 1 for result in results)
    # Written again by the hub's library, nothing is lost.
    data = ModelCard.load("models/release/README.md").data
    assert ModelCardData(**yaml.safe_load(data.to_yaml())).to_yaml() == data.to_yaml()


@pytest.mark.usefixtures("root")
def test_the_card_tells_results_data_and_limits() -> None:
    assert main([]) == 0
    text = Path("models/release/README.md").read_text()
    assert "**This is a test model.**" in text
    assert "| fi | 3.000 ± 0.100 | 2.500 ± 0.100 | 400 | 0.250 | 0.250 ± 0.020 | 0.750" in text
    assert "| EXAMS | Unicode-3.0 | yes | 11 |" in text
    assert "| language | planned share | conversations |" in text
    assert "| en | 0.571 | 1200 |" in text
    assert "| lr | `0.001` |" in text
    assert "It ended after step 12 (early stop)" in text
    assert "## Limits" in text
    assert "$" not in text


@pytest.mark.parametrize(
    ("missing", "stage"),
    [
        ("models/hf", "minilingua convert"),
        ("reports/train/events.jsonl", "minilingua train"),
        ("reports/evaluation.json", "minilingua evaluate"),
        ("reports/evaluation_summary.json", "minilingua evaluate"),
        ("reports/train/early_stopping.json", "minilingua train"),
        ("reports/mixture.csv", "minilingua pack"),
        ("data/raw/manifest.json", "minilingua fetch"),
    ],
)
def test_a_missing_output_is_named_with_its_stage(
    root: Workspace, missing: str, stage: str
) -> None:
    (root.root / missing).rename(root.root / "away")
    with pytest.raises(MissingInputError, match=f"{missing} is missing; `{stage}` makes it"):
        main([])
    assert not (root.root / "models/release").exists()


def test_outputs_of_two_trainings_are_not_released(root: Workspace) -> None:
    write_text(root.root / "dvc.lock", json.dumps({"schema": "2.0", "stages": {"train": {}}}))
    with pytest.raises(DataError, match="models/hf is not the export of the training"):
        main([])


def test_weights_that_were_not_evaluated_are_not_released(root: Workspace) -> None:
    root.lock()
    root.export(value=2.0)
    with pytest.raises(DataError, match="models/hf is not the export of the training"):
        main([])
    assert not (root.root / "models/release").exists()


def test_the_card_of_a_real_training_names_its_data_sets(root: Workspace) -> None:
    path = root.run_directory() / "run.json"
    about = json.loads(path.read_text())
    about["params"] |= {"experiment": "triton"}
    about["params"]["sources"] |= {"origin": "mirror", "mirror": "mirror"}
    path.write_text(json.dumps(about))
    assert main([]) == 0
    card = ModelCard.load("models/release/README.md")
    assert card.data.to_dict()["datasets"] == ["CohereLabs/aya_dataset", "mhardalov/exams"]
    assert "test-model" not in card.data.to_dict()["tags"]
    assert "test model" not in card.text


def test_the_card_says_what_came_from_the_hub(root: Workspace) -> None:
    path = root.run_directory() / "run.json"
    about = json.loads(path.read_text())
    about["params"]["sources"] |= {"origin": "hub"}
    about["params"]["base"] |= {"origin": "hub", "hub": "owner/base", "revision": "f" * 40}
    path.write_text(json.dumps(about))
    assert main([]) == 0
    text = ModelCard.load("models/release/README.md").text
    assert "Downloaded from the Hugging Face hub at the revisions that `sources.lock` pins" in text
    assert f"[`owner/base`](https://huggingface.co/owner/base) at revision `{'f' * 40}`" in text


def source(licence: str) -> SourceRecord:
    return SourceRecord(
        name="aya", title="", hub=(), licence=licence, commercial_use=True, rows=1, digest=""
    )


@pytest.mark.parametrize(
    ("licences", "identifier", "name"),
    [
        (["Apache-2.0", "Apache-2.0"], "apache-2.0", None),
        (["Unicode-3.0"], "other", "unicode-3.0"),
        (["Apache-2.0", "CC-BY-NC-4.0"], "other", "licences-of-the-data"),
    ],
)
def test_the_licence_is_that_of_the_data(
    licences: list[str], identifier: str, name: str | None
) -> None:
    found: HubLicence = hub_licence(map(source, licences))
    assert (found.identifier, found.name) == (identifier, name)
