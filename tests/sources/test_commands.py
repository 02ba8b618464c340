"""`minilingua fetch` with flags, and `minilingua sources`, as a user types them."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from minilingua.cli import main
from minilingua.core.languages import LANGUAGES
from minilingua.sources.pins import read_lock
from minilingua.sources.spec import load_specs, source_names
from tests.hub_server import COMMIT, Hub, status
from tests.sources.conftest import SAMPLE_SOURCES
from tests.sources.hub import publish, revision_of

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    shutil.copy(REPOSITORY / "params.yaml", ".")


@pytest.fixture
def published(hub: Hub, sample_raw: Path) -> Hub:
    publish(hub, sample_raw, SAMPLE_SOURCES)
    return hub


def edit_params(old: str, new: str) -> None:
    text = Path("params.yaml").read_text()
    assert text.count(old) == 1
    Path("params.yaml").write_text(text.replace(old, new))


def test_pinning_writes_the_lock_and_says_what_it_holds(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", "--pin", "--source", "truthfulqa_cs", "--source", "exams"]) == 0
    said = capsys.readouterr().out
    assert f"fetch: truthfulqa_cs: CIIRC-NLP/truthful_qa-cs at {COMMIT} (files: 1, 0." in said
    assert said.endswith("fetch: 2 of 2 sources pinned in sources.lock\n")
    assert sorted(read_lock().sources) == ["exams", "truthfulqa_cs"]
    before = Path("sources.lock").read_bytes()
    assert main(["fetch", "--pin", "--source", "truthfulqa_cs"]) == 0
    assert "stays at" in capsys.readouterr().out
    assert Path("sources.lock").read_bytes() == before
    published.repositories["datasets/CIIRC-NLP/truthful_qa-cs"].commit = "f" * 40
    assert main(["fetch", "--pin", "--source", "truthfulqa_cs"]) == 0
    assert f"at {'f' * 40} (files: 1, 0.0 MB), was {COMMIT}" in capsys.readouterr().out
    assert read_lock().sources["exams"][0].revision == COMMIT


def test_a_source_that_cannot_be_pinned_does_not_stop_the_others(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    published.faults["/revision/main"] = [lambda request: request.refuse(403, "GatedRepo")]
    assert main(["fetch", "--pin"]) == 2
    said = capsys.readouterr()
    errors = said.err.splitlines()
    # The first of them, and those that the sample has not.
    assert [line.split(": ")[2].split(" ")[0] for line in errors] == [
        "pinzhenchen/alpaca-cleaned-de", "CohereLabs/aya_collection_language_split", "GAIR/lima",
        "minilingua-ai/mcqa-minilingua-sft",
    ]  # fmt: skip
    assert all(line.startswith("minilingua: error: ") for line in errors)
    assert "fetch: 9 of 13 sources pinned in sources.lock" in said.out
    assert "alpaca" not in read_lock().sources


@pytest.mark.usefixtures("published")
def test_a_mirror_holds_what_the_run_would_read(capsys: pytest.CaptureFixture[str]) -> None:
    edit_params("licence: permissive", "licence: any")
    main(["fetch", "--pin", *(f"--source={name}" for name in ("aya", "exams", "swefaq"))])
    edit_params(
        "include: [buffet, polyglot_prompt, bactrian_x, aya, alpaca, arc_challenge, swefaq, "
        "truthfulqa_cs,\n        include, exams, self_oss_instruct]",
        "include: [truthfulqa_cs, aya, polyglot_prompt, exams, swefaq]",
    )
    capsys.readouterr()
    assert main(["fetch", "--mirror", "../mirror"]) == 2
    said = capsys.readouterr()
    assert "fetch: truthfulqa_cs is left out: it is a benchmark" in said.out
    assert said.out.endswith("fetch: 3 of 4 sources in ../mirror\n")
    (error,) = said.err.splitlines()
    assert error.startswith("minilingua: error: ../mirror/polyglot_prompt: no file for en, de,")
    assert "; it is not on the hub: follow the README of https://github.com/jinlanfu/" in error
    assert not any("test" in path.name for path in Path("../mirror/exams").rglob("*.parquet"))
    # It is a mirror: the stage reads it, and finds the pins again.
    edit_params("origin: sample", "origin: mirror")
    edit_params("mirror: null", "mirror: ../mirror")
    edit_params("aya, polyglot_prompt, ", "aya, ")
    assert main(["fetch"]) == 0
    details = json.loads(Path("data/raw/manifest.json").read_text())["details"]
    assert details["sources"]["aya"]["revisions"] == {"CohereLabs/aya_dataset": revision_of("aya")}
    assert list(details["excluded"]) == ["truthfulqa_cs"]


def test_a_named_source_is_mirrored_whole_and_resumed(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["--source", "include", "--source", "exams"]
    main(["fetch", "--pin", *names])
    published.faults["French/test-00000-of-00001.parquet"] = [status(404)]
    capsys.readouterr()
    assert main(["fetch", "--mirror", "m", *names]) == 2
    assert "include-base-44: French/test-" in capsys.readouterr().err
    assert main(["fetch", "--mirror", "m", *names]) == 0
    assert "fetch: include: 20 files in m/include" in capsys.readouterr().out
    asked = Counter(published.paths("parquet"))
    assert [path.split("/")[-2] for path, times in asked.items() if times > 1] == ["French"]
    assert any("test" in path.name for path in Path("m/exams").rglob("*.parquet"))


@pytest.mark.usefixtures("published")
def test_files_of_an_earlier_version_are_no_part_of_a_mirror(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["fetch", "--pin", "--source", "include"])
    Path("m/include/German").mkdir(parents=True)
    Path("m/include/German/train-00000-of-00001.parquet").write_bytes(b"old")
    assert main(["fetch", "--mirror", "m", "--source", "include"]) == 2
    assert (
        "m/include: German/train-00000-of-00001.parquet would be read too, and sources.lock does "
        "not know them; they may be of an earlier version: remove them"
    ) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pin", "--source", "ayaa"], "unknown source 'ayaa'; allowed: .* mean 'aya'"),
        (["--pin", "--source", "polyglot_prompt"], "polyglot_prompt is not on the hub: follow"),
        (["--mirror", "m"], "sources.lock is missing; `minilingua fetch --pin` writes it"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_what_cannot_be_done_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert list(Path().iterdir()) == [Path("params.yaml")]


def test_a_flag_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--mirrror", "m"], ["--source", "aya"], ["--pin", "--mirror", "m"]):
        with pytest.raises(SystemExit) as caught:
            main(["fetch", *arguments])
        assert caught.value.code == 2
    assert "usage: minilingua fetch" in capsys.readouterr().err


def table(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    assert main(["sources"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == [
        "source", "kind", "licence", "commercial", "evaluation", "languages", "rows", "revision",
        "hub", "id", "used",
    ]  # fmt: skip
    return {row.split()[0]: row for row in rows}


def test_the_table_has_every_source_whole(
    published: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = table(capsys)
    assert list(rows) == list(source_names())
    assert (
        "pinzhenchen/alpaca-cleaned-{de,es,fr,pt,cs,bg,fi} yahma/alpaca-cleaned" in rows["alpaca"]
    )
    assert "train: bg 1,100, pl 739, it 464, pt 346; de, es and fr have a test" in rows["exams"]
    assert f"{revision_of('aya')[:12]} (no checksums)" in rows["aya"]
    assert "not pinned" in rows["exams"]
    assert "12567cabf869 (no checksums), not pinned" in rows["alpaca"]
    assert rows["lima"].rstrip().endswith("no: not in sources.include")
    assert rows["aya"].rstrip().endswith("yes")
    main(["fetch", "--pin", "--source", "aya", "--source", "alpaca"])
    edit_params("origin: sample", "origin: hub")
    capsys.readouterr()
    rows = table(capsys)
    assert f" {revision_of('aya')[:12]}  " in rows["aya"]
    assert "8 pinned" in rows["alpaca"]
    assert "left out: CC-BY-NC-4.0 forbids commercial use" in rows["alpaca"]
    assert len(published.paths()) == 9


def test_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    Path("params.yaml").unlink()
    assert main(["sources", "--json"]) == 0
    listed: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [source["name"] for source in listed] == list(source_names())
    for source in listed:
        spec = load_specs()[source["name"]]
        assert source["licence"] == spec.licence
        assert source["commercial_use"] == spec.commercial_use
        assert source["languages"] == [code for code in LANGUAGES if code in spec.languages]
        assert source["used"] is None
        wanted = spec.hub_repositories(LANGUAGES)
        assert all(each["bytes"] is None for each in source["repositories"])
        assert all(
            each["revision"] == wanted[each["id"]].revision for each in source["repositories"]
        )
    canaries = [s["name"] for s in listed if s["evaluation"] and s["evaluation"]["canary"]]
    assert canaries == ["mcqa_minilingua", "truthfulqa_cs"]
