"""The fetch stage on the hub and on mirrors of it: pinned, checked, resumed, nothing by chance."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from minilingua.core.errors import DataError, DownloadError, MissingInputError, ParamsError
from minilingua.core.files import tree_digest, tree_files
from minilingua.params import Params
from minilingua.params_file import load_params
from minilingua.sources.pins import Lock, ask_hub, write_lock
from minilingua.sources.spec import load_spec
from minilingua.sources.stage import run
from tests.hub_server import COMMIT, Hub, status, wrong
from tests.sources.conftest import SAMPLE_SOURCES
from tests.sources.hub import publish, revision_of

REPOSITORY = Path(__file__).parents[2]
ON_HUB = [name for name in SAMPLE_SOURCES if load_spec(name).repositories]


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")


@pytest.fixture
def published(hub: Hub, sample_raw: Path) -> Hub:
    """The sample's sources on the hub, and pinned."""
    publish(hub, sample_raw, ON_HUB)
    pin(*ON_HUB)
    hub.requests.clear()
    return hub


def pin(*names: str) -> None:
    write_lock(Lock(sources={name: ask_hub(name, load_spec(name)) for name in names}))


def params(*include: str, languages: list[str] | None = None, **sources: Any) -> Params:
    raw = load_params(REPOSITORY / "params.yaml").model_dump(mode="json")
    raw["languages"] = languages or raw["languages"]
    raw["mixture"]["weights"] = None
    everything = {"origin": "hub", "licence": "any", "evaluation_sets": "include"}
    raw["sources"] |= everything | {"include": list(include or ON_HUB)} | sources
    return Params.model_validate_json(json.dumps(raw))


def manifest() -> Any:
    return json.loads(Path("data/raw/manifest.json").read_text(encoding="utf-8"))


def raw_files(raw: Path) -> dict[str, bytes]:
    return {
        file.relative_to(raw).as_posix(): file.read_bytes()
        for file in tree_files(raw)
        if file.name not in {"facts.json", "manifest.json"}
    }


def test_the_hub_gives_the_files_that_were_published(published: Hub, sample_raw: Path) -> None:
    run(params())
    expected = raw_files(sample_raw)
    expected = {name: data for name, data in expected.items() if name.partition("/")[0] in ON_HUB}
    assert raw_files(Path("data/raw")) == expected
    assert not any(path.endswith((".py", ".md")) for path in published.paths())
    sources = manifest()["details"]["sources"]
    assert sources["aya"]["revisions"] == {"CohereLabs/aya_dataset": revision_of("aya")}
    assert len(sources["alpaca"]["revisions"]) == 8
    assert sources["aya"]["licence"] == "Apache-2.0"
    assert not any(source["unpinned_files"] for source in sources.values())
    assert manifest()["details"]["excluded"] == {}


def test_a_second_run_asks_the_hub_for_nothing(published: Hub) -> None:
    run(params("aya", "exams"))
    first = tree_digest(Path("data/raw"))
    shutil.rmtree("data")  # as DVC does before a stage
    asked = len(published.requests)
    run(params("aya", "exams"))
    assert len(published.requests) == asked
    assert tree_digest(Path("data/raw")) == first


def test_only_the_files_of_the_languages_are_downloaded(published: Hub) -> None:
    run(params("bactrian_x", "alpaca", languages=["fi", "sv"]))
    assert [path.rpartition("/")[2] for path in published.paths()] == [
        "alpaca_cleaned_fi.json", "fi.json.gz", "sv.json.gz",
    ]  # fmt: skip


def test_what_is_left_out_is_said_recorded_and_not_downloaded(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    run(params(licence="permissive", evaluation_sets="exclude"))
    details = manifest()["details"]
    assert list(details["excluded"]) == [
        "alpaca", "bactrian_x", "buffet", "include", "truthfulqa_cs",
    ]  # fmt: skip
    assert set(details["sources"]) == {
        "arc_challenge", "aya", "exams", "self_oss_instruct", "swefaq",
    }  # fmt: skip
    said = capsys.readouterr().out
    for name, reason in details["excluded"].items():
        assert f"fetch: {name} is left out: {reason}" in said
    assert "without */test.jsonl, multilingual/test*.jsonl, " in said
    assert details["sources"]["exams"]["left_out"]["reason"].startswith("the test split is a bench")
    assert "exams: no rows in de, es, fr" in said
    assert not any("test-" in name for name in raw_files(Path("data/raw")))
    assert not any("/resolve/" in path and "test-" in path for path in published.paths())
    assert not any("Bactrian" in path or "truthful" in path for path in published.paths())


def test_a_failed_download_leaves_the_old_data_and_is_continued(published: Hub) -> None:
    run(params("aya"))
    before = tree_digest(Path("data/raw"))
    published.faults["sv.json.gz"] = [status(404)]
    with pytest.raises(DownloadError, match=r"MBZUAI/Bactrian-X: data/sv\.json\.gz: .* 404"):
        run(params("bactrian_x"))
    assert tree_digest(Path("data/raw")) == before
    assert [path.name for path in Path("data").iterdir()] == ["raw"]
    published.requests.clear()
    run(params("bactrian_x"))
    assert [path.rpartition("/")[2] for path in published.paths()] == ["sv.json.gz"]


def test_other_bytes_than_the_pinned_ones_are_refused(published: Hub) -> None:
    repository = published.repositories["datasets/CohereLabs/aya_dataset"]
    (name,) = [path for path in repository.files if path.endswith(".parquet")]
    data = bytearray(repository.files[name])
    data[5] ^= 1
    published.faults[name] = [wrong(bytes(data))] * 2
    with pytest.raises(DownloadError, match=r"its checksum is sha256:\w{64} instead of sha256:"):
        run(params("aya"))
    assert list(Path("data").iterdir()) == []


def test_what_is_not_pinned_is_refused(published: Hub) -> None:
    pin("aya")
    with pytest.raises(ParamsError, match=r"swefaq is not pinned in sources\.lock; `minilingua fe"):
        run(params("aya", "swefaq"))
    Path("sources.lock").unlink()
    with pytest.raises(MissingInputError, match=r"sources\.lock is missing; `minilingua fetch --p"):
        run(params("aya"))
    assert not published.paths("resolve")


def test_another_revision_is_another_cache(published: Hub, tmp_path: Path) -> None:
    run(params("swefaq"))
    repository = published.repositories["datasets/sbx/superlim-2"]
    repository.commit = "f" * 40
    (name,) = [path for path in repository.files if "train" in path]
    repository.files[name] += repository.files[name].partition(b"\n")[0]
    shutil.rmtree(tmp_path / "assets")
    with pytest.raises(DownloadError, match="has no such revision"):
        run(params("swefaq"))
    pin("swefaq")
    run(params("swefaq"))
    assert manifest()["details"]["sources"]["swefaq"]["revisions"] == {"sbx/superlim-2": "f" * 40}


def test_what_the_hub_lacks_comes_from_the_mirror(published: Hub, sample_raw: Path) -> None:
    with pytest.raises(MissingInputError, match=r"polyglot_prompt is not on the hub: follow the R"):
        run(params("polyglot_prompt", "aya"))
    Path("mirror").mkdir()
    with pytest.raises(MissingInputError, match=r"no PolyglotPrompt; follow the README of https:"):
        run(params("polyglot_prompt", "aya", mirror="mirror"))
    shutil.copytree(sample_raw / "polyglot_prompt", "mirror/polyglot_prompt")
    run(params("polyglot_prompt", "aya", mirror="mirror"))
    sources = manifest()["details"]["sources"]
    assert sources["polyglot_prompt"]["revisions"] == {}
    assert sources["aya"]["revisions"] == {"CohereLabs/aya_dataset": revision_of("aya")}
    assert published.paths("parquet")


@pytest.mark.usefixtures("published")
def test_a_mirror_is_checked_against_the_lock(
    sample_raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(sample_raw, "mirror")
    run(params("alpaca", "include", origin="mirror", mirror="mirror"))
    assert len(manifest()["details"]["sources"]["alpaca"]["revisions"]) == 8
    file = Path("mirror/alpaca/cs/alpaca_cleaned_cs.json")
    file.write_bytes(file.read_bytes().replace(b"?", b"!", 1))
    with pytest.raises(DataError) as caught:
        run(params("alpaca", "include", origin="mirror", mirror="mirror"))
    assert "alpaca/cs/alpaca_cleaned_cs.json: its checksum is sha256:" in str(caught.value)
    assert f"revision {COMMIT}); `minilingua fetch --mirror DIR --source alpaca`" in str(
        caught.value
    )
    # Files that the lock does not know are a user's own choice, which is said.
    file.rename(file.with_name("mine.json"))
    run(params("alpaca", "include", origin="mirror", mirror="mirror"))
    described = manifest()["details"]["sources"]["alpaca"]
    assert len(described["revisions"]) == 7
    assert described["unpinned_files"] == ["cs/mine.json"]
    assert (
        "alpaca: what sources.lock does not know is taken as it is: cs/mine.json (1 in "
        "mirror/alpaca)"
    ) in capsys.readouterr().out


@pytest.mark.usefixtures("published")
def test_a_mirror_has_all_files_of_a_pinned_data_set_or_none(sample_raw: Path) -> None:
    shutil.copytree(sample_raw / "arc_challenge", "mirror/arc_challenge")
    (lost,) = Path("mirror/arc_challenge").glob("ARC-Challenge/train-*")
    lost.rename("kept")
    with pytest.raises(MissingInputError) as caught:
        run(params("arc_challenge", origin="mirror", mirror="mirror"))
    assert str(caught.value) == (
        f"arc_challenge/ARC-Challenge/{lost.name} is missing, 1 of the files of allenai/ai2_arc "
        f"that sources.lock pins (revision {revision_of('arc_challenge')}); `minilingua fetch "
        "--mirror DIR --source arc_challenge` repairs a mirror"
    )
    assert not Path("data/raw").exists()
    shutil.move("kept", lost)
    run(params("arc_challenge", origin="mirror", mirror="mirror"))


def test_a_gated_source_says_what_to_do(
    published: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"conversations": ["Why?", "So."], "source": "x"}]
    (tmp_path / "lima" / "lima").mkdir(parents=True)
    (tmp_path / "lima" / "lima" / "train.jsonl").write_text(json.dumps(rows[0]))
    publish(published, tmp_path / "lima", ["lima"])
    published.repositories["datasets/GAIR/lima"].is_gated = True
    pin("lima")
    with pytest.raises(DownloadError) as caught:
        run(params("lima"))
    assert str(caught.value) == (
        "GAIR/lima: train.jsonl: 127.0.0.1 refuses access (401, gated): accept the terms on "
        "https://huggingface.co/datasets/GAIR/lima and set HF_TOKEN to a token of that account (no "
        "token is set)"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    run(params("lima"))
    assert manifest()["kept"] == {"lima": {"en": 1}}
