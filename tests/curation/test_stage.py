import gzip
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from minilingua.core.errors import DataError, MissingInputError, ParamsError
from minilingua.core.files import read_jsonl, tree_digest, write_jsonl
from minilingua.core.records import (
    SPLITS,
    Contamination,
    Conversation,
    InstructionExample,
    Split,
)
from minilingua.core.seeding import generator
from minilingua.curation import stage
from minilingua.curation.ledger import Ledger
from minilingua.curation.prepare import conversation_id
from minilingua.curation.stage import curate
from minilingua.curation.texts import fold
from minilingua.params import Params
from minilingua.params_file import load_params
from tests.curation.examples import Given, example, question

ROOT = Path(__file__).parents[2]
LANGUAGES = ("en", "de", "bg")


def params(**curation: object) -> Params:
    committed = load_params(ROOT / "params.yaml")
    values: dict[str, object] = {"minimum_test_mcqa": 5, "unseen_facts": 0.2} | curation
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


def given(examples: list[InstructionExample], files: int = 3) -> list[Given]:
    """Returns the rows as if they stood in several files."""
    return [Given(examples=tuple(examples[start::files])) for start in range(files)]


def curated(
    examples: list[InstructionExample], output: Path, chosen: Params = PARAMS, **options: Any
) -> tuple[dict[Split, list[Conversation]], Ledger]:
    output.mkdir(parents=True)
    ledger = curate(given(examples), LANGUAGES, chosen, output, **options)
    ledger.manifest.write(output / "manifest.json")
    ledger.manifest.rejects.write(output / "rejects")
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
    # `Count 3.` is in test, `COUNT  3.` has another key and would be trained on.
    assert manifest.reasons() == {"held_out_duplicate": 1, "empty_answer": 1, "wrong_script": 1}
    assert manifest.dropped["held_out_duplicate", "alpaca", "en"] == 1
    assert ledger.read.total() == len(rows())
    assert ledger.read.total() == manifest.kept.total() + manifest.dropped.total()
    for (source, language), count in ledger.read.items():
        dropped = sum(n for (_, *of), n in manifest.dropped.items() if of == [source, language])
        assert count == manifest.kept[source, language] + dropped
        assert manifest.details["rows_read"][source][language] == count
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


def test_processes_write_the_same_bytes(tmp_path: Path) -> None:
    for processes in (1, 2):
        curated(rows(), tmp_path / str(processes), processes=processes)
    assert tree_digest(tmp_path / "1") == tree_digest(tmp_path / "2")


def test_an_error_in_a_process_is_the_error_of_the_stage(tmp_path: Path) -> None:
    stale = example("What?", "That.", source="withdrawn")
    for processes in (1, 2):
        with pytest.raises(DataError, match=r"source 'withdrawn' is not in sources\.include"):
            curated([*rows(), stale], tmp_path / str(processes), processes=processes)


PASSAGE = "The old bridge was built by masons from the north in the year of the great flood "


def test_a_long_training_row_that_nearly_repeats_a_held_out_one_is_dropped(tmp_path: Path) -> None:
    answer = " ".join(f"word{number}" for number in range(60))
    made = [example(f"{PASSAGE} {n}?", f"{answer} {n}") for n in range(40)]
    copies = [
        example(f"{PASSAGE} {n}?", f"{answer} {n} indeed", source="bactrian_x") for n in range(40)
    ]
    found, ledger = curated([*rows(), *made, *copies], tmp_path / "out")
    kept = {
        split: [r for r in found[split] if PASSAGE in r.messages[0].content] for split in SPLITS
    }
    asked = [row.messages[0].content for split in SPLITS for row in kept[split]]
    assert len(asked) == len(set(asked)) == 40
    reasons = ledger.manifest.reasons()
    # The key is that of the prompt: both rows are in one split.
    assert reasons["near_duplicate"] == 40
    assert all(row.source == "aya" for split in SPLITS for row in kept[split])


def test_near_copies_of_held_out_rows_are_told_from_others(tmp_path: Path) -> None:
    long = " ".join(f"{one}{other}" for one in "bdfgk" for other in ("ana", "elo", "iru", "osi"))
    pairs = [(f"{long} {' '.join([chr(97 + n)] * 3)}", "Yes.") for n in range(26)]
    made = [example(prompt, answer) for prompt, answer in pairs]
    again = [example(f"{prompt} indeed", answer, source="alpaca") for prompt, answer in pairs]
    found, ledger = curated([*rows(), *made, *again], tmp_path / "out")
    assert sum(long in row.messages[0].content for split in SPLITS for row in found[split]) == 26
    places = {row.key: split for split in SPLITS for row in found[split]}
    left = [both for both in zip(made, again, strict=True) if both[0].key not in places]
    assert left, "a copy stays where it is held out and the preferred row is not"
    assert all(places[other.key] != "train" for _, other in left)
    reasons = ledger.manifest.reasons()
    assert reasons["held_out_duplicate"] > 1
    assert reasons["near_duplicate"] > 1
    assert reasons["held_out_duplicate"] - 1 + reasons["near_duplicate"] == 26


def test_a_held_out_question_is_not_trained_on_in_another_form(tmp_path: Path) -> None:
    asked = [question(f"Ist {number} rund?") for number in range(60)]
    plain = [example(f"Ist {number} – rund", "Ja!", language="de") for number in range(60)]
    found, _ = curated([*rows(), *asked, *plain], tmp_path / "out")
    numbers = {
        split: {
            next(word for word in row.messages[0].content.split() if word.isdigit())
            for row in found[split]
            if "rund" in row.messages[0].content
        }
        for split in SPLITS
    }
    held_out = numbers["validation"] | numbers["test"]
    assert held_out
    assert not numbers["train"] & held_out


def test_a_prompt_of_a_held_out_row_is_not_trained_on_in_other_letters(tmp_path: Path) -> None:
    made = [example(f"Où est le café {n} ?", f"Là, {n}.") for n in range(60)]
    again = [
        example(f"OÙ  est le cafe\u0301 {n} ?", f"Ici, {n}!", source="alpaca") for n in range(60)
    ]
    more = [example(f"où est\nle CAFÉ {n} ?", f"Ailleurs, {n}.") for n in range(60)]
    everything = [*rows(), *made, *again, *more]
    found, ledger = curated(everything, tmp_path / "out")
    curated(everything[::-1], tmp_path / "backwards")
    assert tree_digest(tmp_path / "out") == tree_digest(tmp_path / "backwards")
    prompts = {
        split: {fold(row.messages[0].content) for row in found[split] if row.choice is None}
        for split in SPLITS
    }
    assert not prompts["train"] & (prompts["validation"] | prompts["test"])
    dropped = ledger.manifest.dropped
    assert prompts["validation"] | prompts["test"]
    kept = prompts["train"] | prompts["validation"] | prompts["test"]
    assert {fold(row.messages[0].content) for row in made} <= kept
    assert dropped["held_out_duplicate", "aya", "en"] > 0
    assert dropped["held_out_duplicate", "alpaca", "en"] > 1
    assert ledger.read.total() == ledger.manifest.kept.total() + dropped.total()


def test_the_preferred_source_stays(tmp_path: Path) -> None:
    made = [
        example(f"Zähle bis {n}.", f"{n}", source=s) for n in range(9) for s in ("aya", "alpaca")
    ]
    for first, second in (("aya", "alpaca"), ("alpaca", "aya")):
        chosen = params(prefer=(first, second))
        found, _ = curated([*rows(), *made], tmp_path / first, chosen)
        kept = [r for s in SPLITS for r in found[s] if r.messages[0].content.startswith("Zähle")]
        assert [row.source for row in kept] == [first] * 9


def test_unknown_preferred_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"curate.prefer: unknown source 'alpacca'.*'alpaca'"):
        curated(rows(), tmp_path / "out", params(prefer=("alpacca",)))


def test_rows_that_overlap_a_benchmark_are_dropped_and_reported(tmp_path: Path) -> None:
    benchmarks = tmp_path / "benchmarks"
    benchmarks.mkdir()
    run = "one two three four five six seven eight nine ten eleven twelve thirteen"
    (benchmarks / "quiz.jsonl").write_text(
        json.dumps({"id": "q7", "question": f"Start {run} end?", "answer": "Yes."}) + "\n"
    )
    near = [example(f"{n}: {run.upper()}!", f"Of course {n}.") for n in range(8)]
    found, ledger = curated([*rows(), *near], tmp_path / "out", benchmarks=benchmarks)
    report = list(read_jsonl(tmp_path / "out" / "contamination.jsonl", Contamination))
    report = [one for one in report if one.set == "benchmarks/quiz"]
    assert report
    assert {one.item for one in report} == {"q7"}
    assert {one.words for one in report} == {run}
    assert all(one.is_dropped and not one.is_whole and one.key is None for one in report)
    assert ledger.manifest.reasons()["benchmark_overlap"] == len(report)
    assert not any(run.upper() in row.messages[0].content for row in found["train"])
    held = [r for s in SPLITS[1:] for r in found[s] if run.upper() in r.messages[0].content]
    assert len(held) + len(report) == 8
    assert ledger.manifest.details["contamination"]["benchmarks/quiz"] == {
        "items_found": 1,
        "items_trained_on": 0,
    }
    assert ledger.manifest.details["benchmarks"]["benchmarks/quiz"]["items"] == 1


@pytest.mark.parametrize("shuffle", range(3))
def test_the_order_of_rows_reaches_no_output(tmp_path: Path, shuffle: int) -> None:
    examples = rows()
    order = generator(shuffle, "test").permutation(len(examples))
    for name, shown in (("a", examples), ("b", [examples[index] for index in order])):
        curated(shown, tmp_path / name)
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
    identities = {conversation_id(row) for row in [base, *others]}
    assert len(identities) == 5
    assert conversation_id(example("a", "b", source="alpaca")) == conversation_id(base)


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
    read = {"bactrian_x": {"de": 40, "en": 40}, "exams": {"de": 12}}
    assert manifest["details"]["rows_read"] == read, "with what the reader rejected"
    assert manifest["details"]["mcqa_rows"]["test"] == {"de": 6, "en": 0}
    names = {path.name for path in Path("data/conversations").iterdir()}
    assert names == {*SPLITS, "manifest.json", "rejects", "contamination.jsonl"}
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
