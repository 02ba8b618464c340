import csv
import gc
import json
import shutil
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from minilingua.core.errors import DataError, MissingInputError, ParamsError
from minilingua.core.files import tree_digest
from minilingua.core.languages import LANGUAGES
from minilingua.core.plan import PackPlan, SplitPlan, pack_ref, read_plan, unpack_ref
from minilingua.core.records import SPLITS, Split
from minilingua.core.tokens import open_token_file, token_file_digest
from minilingua.packing import corpus, stage
from minilingua.packing.corpus import Ints
from minilingua.params import Params
from tests.packing.conftest import (
    SOURCES,
    realistic_lengths,
    source_of,
    with_mixture,
    with_pack,
    write_tokens,
)

PLAN, TOKENS = Path("data/plan"), Path("data/tokens")
LEDGER, LEDGER_OF_SOURCES = Path("reports/mixture.csv"), Path("reports/mixture_sources.csv")
PICTURE = Path("reports/mixture.png")


@pytest.fixture(autouse=True)
def here(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tokens / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)


def plan_of(params: Params) -> PackPlan:
    stage.run(params)
    return read_plan(PLAN)


def ledger() -> dict[str, dict[str, str]]:
    with LEDGER.open(newline="") as stream:
        return {row["language"]: row for row in csv.DictReader(stream)}


def ledger_of_sources() -> dict[tuple[str, str], dict[str, str]]:
    with LEDGER_OF_SOURCES.open(newline="") as stream:
        return {(row["language"], row["source"]): row for row in csv.DictReader(stream)}


def lengths_of_packs(plan: SplitPlan, split: Split) -> list[int]:
    files = {code: open_token_file(TOKENS / split / code).lengths() for code in LANGUAGES}
    return [
        sum(int(files[ref.language][ref.row]) for ref in plan.pack(number))
        for number in range(plan.packs)
    ]


def test_two_epochs_show_every_conversation_twice_in_full_packs(params: Params) -> None:
    plan = plan_of(params)
    train = plan.splits["train"]
    times = Counter(unpack_ref(int(value)) for value in train.conversations)
    left_out = plan.meta["figures"]["train"]["dropped_last_step"]
    assert sum(times.values()) + left_out == 2 * sum(
        len(open_token_file(TOKENS / "train" / code)) for code in LANGUAGES
    )
    assert max(times.values()) == 2
    fills = lengths_of_packs(train, "train")
    assert max(fills) <= 1024
    assert sum(fills) / (1024 * len(fills)) >= 0.99
    assert {len(train.packs_of_step(step)) for step in range(train.steps - 1)} == {4}


def test_held_out_splits_are_one_step_of_packs_of_one_language(params: Params) -> None:
    plan = plan_of(params)
    for split in SPLITS[1:]:
        held_out = plan.splits[split]
        assert held_out.steps == 1
        refs = [unpack_ref(int(value)) for value in held_out.conversations]
        assert len(set(refs)) == len(refs) == 25 * len(LANGUAGES)
        packs = [held_out.pack(number) for number in range(held_out.packs)]
        assert all(len({ref.language for ref in pack}) == 1 for pack in packs)
        assert max(lengths_of_packs(held_out, split)) <= 1024


def test_a_step_of_conversations_holds_exactly_that_number_and_the_mixture(params: Params) -> None:
    weights = {"en": 0.5, "fi": 0.25, "code": 0.25}
    asked = with_pack(
        with_mixture(params, "conversations", weights),
        global_batch=40,
        global_batch_unit="conversations",
        epochs=3.0,
    )
    train = plan_of(asked).splits["train"]
    for step in range(train.steps - 1):
        refs = [ref for number in train.packs_of_step(step) for ref in train.pack(number)]
        assert len(refs) == 40
        held = Counter(ref.language for ref in refs)
        assert abs(held["en"] - 20) <= 4
        assert abs(held["fi"] - 10) <= 4
    rows = ledger()
    assert float(rows["en"]["planned_share"]) == 0.5
    assert float(rows["en"]["realised_share"]) == pytest.approx(0.5, abs=0.01)
    assert rows["de"]["conversations"] == "0"


@pytest.mark.parametrize("unit", ["tokens", "supervised_tokens"])
def test_weights_are_shares_of_their_unit(params: Params, unit: str) -> None:
    stage.run(with_pack(with_mixture(params, unit, {"en": 1.0, "sv": 3.0}), epochs=4.0))
    rows = ledger()
    assert float(rows["sv"]["planned_share"]) == 0.75
    assert float(rows["sv"]["realised_share"]) == pytest.approx(0.75, abs=0.01)
    share = int(rows["sv"][unit]) / (int(rows["sv"][unit]) + int(rows["en"][unit]))
    assert float(rows["sv"]["realised_share"]) == pytest.approx(share, abs=1e-6)
    assert float(rows["sv"]["epochs"]) == pytest.approx(
        int(rows["sv"]["conversations"]) / int(rows["sv"]["available"]), abs=1e-6
    )


def test_the_ledgers_agree_with_the_plan(params: Params) -> None:
    """Counted anew from the plan and the token files, also where nothing has a weight."""
    train = plan_of(with_mixture(params, "tokens", {"en": 2.0, "bg": 1.0})).splits["train"]
    found: dict[tuple[str, str], Counter[str]] = {}
    for value in train.conversations:
        ref = unpack_ref(int(value))
        item = open_token_file(TOKENS / "train" / ref.language)[ref.row]
        for source in ("", item.source):
            counts = found.setdefault((ref.language, source), Counter())
            counts["conversations"] += 1
            counts["tokens"] += len(item.tokens)
            counts["supervised_tokens"] += int(item.loss_mask.sum())
    rows = {(language, ""): row for language, row in ledger().items()} | ledger_of_sources()
    assert len(rows) == len(LANGUAGES) * (1 + len(SOURCES))
    everything = sum(counts["tokens"] for (_, source), counts in found.items() if not source)
    for (language, source), row in rows.items():
        counts = found.get((language, source), Counter())
        file = open_token_file(TOKENS / "train" / language)
        members = [n for n in range(len(file)) if source in {"", source_of(n)}]
        assert int(row["available"]) == len(members)
        assert int(row["truncated"]) == sum(number % 10 == 0 for number in members)
        assert row["tokens_per_word"] == f"{_fertility(file.lengths()[members]):.3f}"
        for column in ("conversations", "tokens", "supervised_tokens"):
            assert int(row[column]) == counts[column]
        assert float(row["realised_share"]) == pytest.approx(
            counts["tokens"] / everything, abs=1e-6
        )
    for shares in ("planned_share", "realised_share"):
        for table in (ledger(), ledger_of_sources()):
            assert sum(float(row[shares]) for row in table.values()) == pytest.approx(1, abs=1e-4)


def _fertility(lengths: Ints) -> float:
    return float(lengths.sum() / (lengths // 2).sum())


def test_sources_have_shares_within_their_language(params: Params) -> None:
    sources = {"aya": 1.0, "exams": 3.0}
    train = plan_of(
        with_pack(with_mixture(params, "tokens", {"en": 1.0, "sv": 1.0}, sources), epochs=6.0)
    ).splits["train"]
    rows = ledger_of_sources()
    for language in ("en", "sv"):
        assert float(ledger()[language]["realised_share"]) == pytest.approx(0.5, abs=0.02)
        for source, share in (("aya", 0.125), ("exams", 0.375), ("alpaca", 0)):
            row = rows[language, source]
            assert float(row["planned_share"]) == pytest.approx(share)
            assert float(row["realised_share"]) == pytest.approx(share, abs=0.02)
    refs = {unpack_ref(int(value)) for value in train.conversations}
    assert {source_of(ref.row) for ref in refs} == set(sources)


def test_no_language_is_seen_more_often_than_allowed(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = {"en": 8.0, "sv": 1.0, "code": 1.0}
    stage.run(with_pack(with_mixture(params, "tokens", weights, max_epochs=1.5), epochs=1.0))
    rows = ledger()
    assert float(rows["en"]["planned_share"]) == 0.8
    assert 1.4 < float(rows["en"]["epochs"]) <= 1.5
    assert float(rows["en"]["realised_share"]) < 0.5
    assert float(rows["sv"]["realised_share"]) == pytest.approx(
        float(rows["code"]["realised_share"]), abs=0.02
    )
    assert "held back by mixture.max_epochs: en\n" in capsys.readouterr().out


def test_figures_agree_with_the_plan(params: Params) -> None:
    plan = plan_of(params)
    train, figures = plan.splits["train"], plan.meta["figures"]["train"]
    fills = lengths_of_packs(train, "train")
    steps = [
        sum(fills[number] for number in train.packs_of_step(step)) for step in range(train.steps)
    ]
    assert figures["tokens"] == sum(fills)
    assert figures["tokens_per_step"]["max"] == max(steps)
    assert figures["tokens_per_step"]["min"] == min(steps)
    assert figures["tokens_per_step"]["mean"] == pytest.approx(sum(steps) / len(steps), abs=1e-3)


def test_too_long_conversations_are_dropped_and_counted(params: Params) -> None:
    write_tokens(TOKENS / "train/en", [600, 10, 20, 513, 512])
    plan = plan_of(with_pack(params, sequence_length=512))
    rows = {
        unpack_ref(int(value)).row
        for value in plan.splits["train"].conversations
        if unpack_ref(int(value)).language == "en"
    }
    assert rows <= {1, 2, 4}
    assert plan.meta["dropped_too_long"]["train"]["en"] == 2
    assert (ledger()["en"]["dropped_too_long"], ledger()["en"]["available"]) == ("2", "3")
    by_source = ledger_of_sources()
    assert [by_source["en", name]["dropped_too_long"] for name in SOURCES] == ["1", "1", "0"]


def test_digests_name_the_tokens_that_the_plan_is_of(params: Params) -> None:
    digests = plan_of(params).meta["token_digests"]
    assert set(digests) == {f"{split}/{code}" for split in SPLITS for code in LANGUAGES}
    for name, digest in digests.items():
        assert token_file_digest(TOKENS / name) == digest
    write_tokens(TOKENS / "test/sv", [9] * 25, "changed")
    assert token_file_digest(TOKENS / "test/sv") != digests["test/sv"]


def test_equal_inputs_give_equal_bytes_and_another_seed_another_order(params: Params) -> None:
    outputs = (PLAN, LEDGER, LEDGER_OF_SOURCES, PICTURE)
    stage.run(params)
    first = [tree_digest(path) for path in outputs]
    stage.run(params)
    assert [tree_digest(path) for path in outputs] == first
    stage.run(params.model_copy(update={"seed": 12}))
    assert tree_digest(PLAN) != first[0]


def test_the_plan_does_not_depend_on_how_it_is_computed(params: Params) -> None:
    """Data-parallel ranks and micro batches are no part of it: they share each step's packs."""
    plans = []
    for micro_batch in (1, 2, 8):
        train = params.train.model_copy(update={"micro_batch": micro_batch, "threads": micro_batch})
        stage.run(params.model_copy(update={"train": train}))
        plans.append(tree_digest(PLAN))
    assert len(set(plans)) == 1
    plan = read_plan(PLAN).splits["train"]
    for ranks in (1, 2, 3, 4):
        for step in range(plan.steps):
            packs = plan.packs_of_step(step)
            shared = [number for rank in range(ranks) for number in packs[rank::ranks]]
            assert sorted(shared) == list(packs)
    seen = [ref for number in range(plan.packs) for ref in plan.pack(number)]
    assert [pack_ref(ref.language, ref.row) for ref in seen] == plan.conversations.tolist()


def peak_bytes(params: Params, conversations: int) -> int:
    """Python's peak memory of the stage."""
    shutil.rmtree(TOKENS / "train/en")
    write_tokens(TOKENS / "train/en", realistic_lengths(conversations, 1, 200).tolist(), "en")
    gc.collect()  # garbage of other tests, if collected meanwhile, would count against the peak
    tracemalloc.start()
    try:
        stage.run(params)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_conversation_costs_less_than_thirty_bytes_of_memory(params: Params) -> None:
    once = with_pack(params, epochs=1.0)
    peak_bytes(once, 500)  # what is imported and cached at the first call counts for nothing
    few, many = peak_bytes(once, 3_000), peak_bytes(once, 30_000)
    assert many - few < 27_000 * 30


def test_the_plan_does_not_depend_on_how_masks_are_read(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = plan_of(params).meta
    for tokens in (1, 100, 5_000):
        monkeypatch.setattr(corpus, "_TOKENS_AT_ONCE", tokens)
        assert plan_of(params).meta == whole


def test_the_terminal_shows_the_ledger_and_the_steps_before_anything_is_trained(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = plan_of(params).meta["figures"]["train"]
    shown = capsys.readouterr().out
    assert f"tokens a step: {figures['tokens_per_step']['mean']:.0f} (" in shown
    words = [line.split() for line in shown.splitlines()]
    assert next(line for line in words if line[:1] == ["train"])[1] == str(figures["steps"])
    english = next(line for line in words if line[:1] == ["en"])
    row = ledger()["en"]
    assert english[3:] == [
        "2.00",
        f"{int(row['conversations']):,}",
        f"{int(row['tokens']):,}",
        f"{int(row['supervised_tokens']):,}",
        row["truncated"],
        f"{float(row['tokens_per_word']):.2f}",
    ]


@pytest.mark.usefixtures("here")
def test_the_picture_is_a_picture(params: Params) -> None:
    stage.run(with_mixture(params, "tokens", None, max_epochs=1.5))
    with Image.open(PICTURE) as image:
        assert image.format == "PNG"
        assert image.width > image.height > 600
        assert len(image.convert("RGB").getcolors(1 << 20) or ()) > 10
        assert "Software" not in image.info


def test_a_weight_without_data_names_the_language(params: Params) -> None:
    write_tokens(TOKENS / "train/sv", [])
    with pytest.raises(ParamsError, match=r"params\.yaml: mixture\.weights: 'sv': data/tokens"):
        stage.run(with_mixture(params, "tokens", {"en": 1.0, "sv": 1.0}))
    assert not PLAN.exists()
    assert not LEDGER.exists()
    stage.run(params)  # without weights a language may be empty
    assert ledger()["sv"]["epochs"] == "0.000000"
    assert ledger()["sv"]["tokens_per_word"] == ""


def test_less_than_half_a_step_is_one_clear_line(params: Params) -> None:
    for language in LANGUAGES:
        write_tokens(TOKENS / "train" / language, [5])
    with pytest.raises(DataError, match=r"28 conversations with 140 tokens .* 4096 tokens$"):
        stage.run(params)


def test_packs_that_are_shorter_than_every_conversation_are_told(params: Params) -> None:
    short = with_pack(params, sequence_length=3, global_batch=12)
    with pytest.raises(
        DataError, match=r"data/tokens/train: none of its \d+ conversations fits into pack\.seq"
    ):
        stage.run(short)
    assert not PLAN.exists()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([], "has no conversation; raise curate.validation"),
        ([1025, 2000], r"none of its 28 conversations fits into pack\.sequence_length 1024"),
    ],
)
def test_without_validation_there_is_no_plan(
    params: Params, lengths: list[int], message: str
) -> None:
    for code in LANGUAGES:
        write_tokens(TOKENS / "validation" / code, lengths, code)
    with pytest.raises(DataError, match=f"data/tokens/validation: {message}"):
        stage.run(params)
    assert not PLAN.exists()


def test_tokens_of_two_tokenizers_are_refused(params: Params) -> None:
    write_tokens(TOKENS / "train/fi", [5] * 100, tokenizer_digest="another")
    with pytest.raises(DataError, match="train: en and fi were made by different tokenizers"):
        stage.run(params)


def test_missing_tokens_name_the_stage_that_makes_them(params: Params) -> None:
    shutil.rmtree(TOKENS / "validation/cs")
    with pytest.raises(MissingInputError, match=r"validation/cs/meta\.json .*minilingua tokenize"):
        stage.run(params)


def test_damage_is_found(params: Params) -> None:
    (TOKENS / "train/en/loss_mask.bin").write_bytes(b"\x01")
    with pytest.raises(DataError, match=r"loss_mask\.bin has 1 bytes"):
        stage.run(params)


def test_the_plan_is_json_without_places_or_times(params: Params) -> None:
    stage.run(params)
    meta = json.loads((PLAN / "plan.json").read_text())
    assert set(meta) == {
        "seed", "pack", "mixture", "figures", "dropped_too_long", "token_digests",
        "format_version", "sequence_length",
        "sha256", "languages", "splits",
    }  # fmt: skip
