import gzip
import json
from itertools import combinations
from pathlib import Path

import pytest

from minilingua.core.errors import DataError, MissingInputError
from minilingua.core.files import read_jsonl, tree_digest, write_jsonl
from minilingua.core.manifest import Manifest
from minilingua.core.records import SPLITS, Conversation, InstructionExample, Split
from minilingua.core.seeding import generator
from minilingua.curation import stage
from minilingua.curation.stage import Ledger, curate
from minilingua.params import Params
from minilingua.params_file import load_params
from tests.curation.examples import example, question

ROOT = Path(__file__).parents[2]
LANGUAGES = ("en", "de", "bg")


def params(**curation: float) -> Params:
    committed = load_params(ROOT / "params.yaml")
    values = {"minimum_test_mcqa": 5, "unseen_facts": 0.2} | curation
    return committed.model_copy(
        update={
            "languages": LANGUAGES,
            "sources": committed.sources.model_copy(update={"include": ("bactrian_x", "alpaca")}),
            "curate": committed.curate.model_copy(update=values),
        }
    )


PARAMS = params()


def rows() -> list[InstructionExample]:
    """Returns rows of two languages, with facts, repeats and rows for the filters."""
    made = []
    for number in range(60):
        fact = f"fact {number % 15}"
        made.append(question(f"Ist {number} gerade?", fact=fact))
        made.append(example(f"Wie heißt {number}?", f"Es heißt {number}.", language="de"))
        made.append(example(f"Count {number}.", f"{number}.", fact=fact))
        made.append(example(f"Брой до {number}.", "Добре.", language="bg", fact=fact))
    made.append(example("COUNT  3.", "3.", source="alpaca"))
    made.append(example("Count 4.", " ", source="alpaca"))
    made.append(example("Which?", "Wrong script", language="bg"))
    return made


def curated(
    examples: list[InstructionExample], output: Path, chosen: Params = PARAMS
) -> tuple[dict[Split, list[Conversation]], Ledger]:
    ledger = Ledger(manifest=Manifest(stage="curate"))
    output.mkdir(parents=True)
    curate(examples, LANGUAGES, chosen, output, ledger)
    found = {
        split: [
            row
            for language in LANGUAGES
            for row in read_jsonl(output / split / f"{language}.jsonl", Conversation)
        ]
        for split in SPLITS
    }
    return found, ledger


def test_rows_in_are_rows_kept_and_rows_dropped(tmp_path: Path) -> None:
    found, ledger = curated(rows(), tmp_path / "out")
    manifest = ledger.manifest
    assert manifest.reasons() == {"duplicate": 1, "empty_answer": 1, "wrong_script": 1}
    assert (
        manifest.dropped["duplicate", "alpaca", "en"] + (manifest.dropped["duplicate", "aya", "en"])
        == 1
    )
    assert ledger.read.total() == len(rows())
    assert ledger.read.total() == manifest.kept.total() + manifest.dropped.total()
    for source, count in ledger.read.items():
        kept = sum(n for (name, _), n in manifest.kept.items() if name == source)
        dropped = sum(n for (_, name, _), n in manifest.dropped.items() if name == source)
        assert count == kept + dropped
    written = {split: len(conversations) for split, conversations in found.items()}
    assert sum(written.values()) == manifest.kept.total()
    details = manifest.details
    assert {split: sum(table.values()) for split, table in details["rows"].items()} == written
    assert {s: sum(t.values()) for s, t in details["rows_by_task"].items()} == written
    assert details["mcqa_rows"]["test"]["de"] >= PARAMS.curate.minimum_test_mcqa
    assert details["filters"].keys() >= manifest.reasons().keys()


def test_no_key_no_text_and_no_held_out_fact_on_both_sides(tmp_path: Path) -> None:
    found, _ = curated(rows(), tmp_path / "out")
    keys = [{row.key for row in found[split]} for split in SPLITS]
    ids = [{row.id for row in found[split]} for split in SPLITS]
    assert all(keys)
    assert not any(first & second for first, second in combinations(keys, 2))
    assert not any(first & second for first, second in combinations(ids, 2))
    trained = {row.fact for row in found["train"]} - {None}
    everywhere = {row.fact for row in rows()} - {None}
    assert trained < everywhere


@pytest.mark.parametrize("shuffle", range(3))
def test_the_order_of_rows_reaches_no_output(tmp_path: Path, shuffle: int) -> None:
    examples = rows()
    order = generator(shuffle, "test").permutation(len(examples))
    for name, given in (("a", examples), ("b", [examples[index] for index in order])):
        _, ledger = curated(given, tmp_path / name)
        ledger.manifest.write(tmp_path / name / "manifest.json")
        write_jsonl(tmp_path / name / "rejects.jsonl", ledger.rejects.rows())
    assert tree_digest(tmp_path / "a") == tree_digest(tmp_path / "b")


def test_a_new_source_moves_no_row(tmp_path: Path) -> None:
    more = [
        *(example(f"Name number {number}.", f"{number}", source="alpaca") for number in range(50)),
        *(example(f"Count {number}.", f"{number}!", source="alpaca") for number in range(50)),
    ]
    before, _ = curated(rows(), tmp_path / "before")
    after, _ = curated(more + rows(), tmp_path / "after")
    places = {row.id: split for split in SPLITS for row in after[split]}
    assert all(places[row.id] == split for split in SPLITS for row in before[split])


def test_rows_are_shuffled_with_the_seed(tmp_path: Path) -> None:
    first, _ = curated(rows(), tmp_path / "first")
    other, _ = curated(rows(), tmp_path / "other", PARAMS.model_copy(update={"seed": 1}))
    for split in SPLITS:
        ids = [row.id for row in first[split]]
        assert sorted(ids) == sorted(row.id for row in other[split])
    assert [row.id for row in first["train"]] != [row.id for row in other["train"]]
    assert [row.id for row in first["train"]] != sorted(row.id for row in first["train"])


def test_identity_covers_language_roles_and_contents() -> None:
    base = example("a", "b")
    others = [
        example("a", "b", language="de"),
        example("a", "c"),
        example("ab", ""),
        example(turns=(("system", "a"), ("user", "b"))),
    ]
    identities = {stage.conversation_id(row) for row in [base, *others]}
    assert len(identities) == 5
    assert stage.conversation_id(example("a", "b", source="alpaca")) == stage.conversation_id(base)


def test_a_language_without_training_data_is_named(tmp_path: Path) -> None:
    few = [row for row in rows() if row.language != "bg"]
    few.append(example("Which?", "Wrong script", language="bg"))
    with pytest.raises(DataError, match=r"for bg: .* 0 rows .* dropped: wrong_script 1"):
        curated(few, tmp_path / "out")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A raw tree of Bactrian-X and Alpaca, and the MCQA stage's output."""
    monkeypatch.chdir(tmp_path)
    for language in ("en", "de"):
        native = [
            {
                "instruction": f"{language}: write {number}",
                "input": "in words" if number % 2 else "",
                "id": f"alpaca-{number}",
                "output": f"number {number}" if number else "",
            }
            for number in range(40)
        ]
        path = Path(f"data/raw/bactrian_x/data/{language}.json.gz")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(json.dumps(native).encode(), mtime=0))
    asked = [question(f"Frage {number}?") for number in range(12)]
    write_jsonl(Path("data/mcqa/de.jsonl"), asked)
    write_jsonl(Path("data/mcqa/en.jsonl"), [])
    return tmp_path


@pytest.mark.usefixtures("files")
def test_the_stage_reads_native_files_and_writes_every_split() -> None:
    chosen = params(minimum_test_mcqa=6)
    sources = chosen.sources.model_copy(update={"include": ("bactrian_x",)})
    chosen = chosen.model_copy(update={"languages": ("de", "en"), "sources": sources})
    stage.run(chosen)
    first = tree_digest(Path("data/conversations"))
    manifest = json.loads(Path("data/conversations/manifest.json").read_text())
    assert manifest["rows_kept"] == 2 * 39 + 12
    assert manifest["dropped"] == {"empty_answer": {"bactrian_x": {"de": 1, "en": 1}}}
    assert manifest["details"]["mcqa_rows"]["test"] == {"de": 6, "en": 0}
    names = {path.name for path in Path("data/conversations").iterdir()}
    assert names == {*SPLITS, "manifest.json", "rejects.jsonl"}
    for split in SPLITS:
        found = sorted(path.name for path in Path("data/conversations", split).iterdir())
        assert found == ["de.jsonl", "en.jsonl"]
    stage.run(chosen)
    assert tree_digest(Path("data/conversations")) == first


@pytest.mark.usefixtures("files")
def test_missing_inputs_are_named_and_leave_the_last_output() -> None:
    chosen = params()
    Path("data/conversations").mkdir()
    Path("data/mcqa/de.jsonl").unlink()
    sources = chosen.sources.model_copy(update={"include": ("bactrian_x",)})
    chosen = chosen.model_copy(update={"languages": ("de", "en"), "sources": sources})
    with pytest.raises(
        MissingInputError, match=r"data/mcqa/de\.jsonl is missing; `minilingua mcqa"
    ):
        stage.run(chosen)
    assert [path.name for path in Path("data").iterdir() if path.name.startswith(".")] == []
    assert Path("data/conversations").is_dir()


def test_missing_raw_data_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingInputError, match=r"data/raw is missing; `minilingua fetch`"):
        stage.run(params())
