from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.records import InstructionExample
from minilingua.curation import rows as rows_module
from minilingua.curation.contamination import (
    COMMON_ROWS,
    RUN_WORDS,
    SHORT_WORDS,
    Hit,
    Item,
    ItemIndex,
    hash_pair,
)
from minilingua.curation.texts import fold, join_words, words
from tests.curation.examples import example, question, spooled

RUN = [f"word{number}" for number in range(RUN_WORDS)]


def item(prompt: str, answer: str = "", name: str = "1") -> Item:
    asked, answered = words(fold(prompt)), words(fold(answer))
    return Item(
        set="benchmarks/b",
        name=name,
        key=None,
        words=join_words(asked, answered),
        pair=hash_pair(asked, answered) if answered else None,
    )


def search(
    directory: Path, items: Sequence[Item], rows: list[InstructionExample], language: str = "en"
) -> list[Hit]:
    with spooled(directory, rows, language) as spool:
        return ItemIndex(items).search(spool, np.ones(len(spool.rows), dtype=np.bool_))


def test_a_shared_run_is_found_wherever_it_stands(tmp_path: Path) -> None:
    run = " ".join(RUN)
    rows = [
        example(f"Before, {run.upper()}; after.", "Yes."),
        example("Before", f"after {' '.join(RUN[:-1])}"),
        example(f"A {' '.join(RUN[:7])}", f"{' '.join(RUN[7:])} b"),
    ]
    hits = search(tmp_path, [item(f"Is it so: {run}?")], rows)
    assert [(hit.row, hit.item, hit.words, hit.is_whole) for hit in hits] == [
        (0, 0, run, False),
        (2, 0, run, False),
    ]


def test_every_item_with_the_run_is_named(tmp_path: Path) -> None:
    run = " ".join(RUN)
    items = [item(f"{run} one"), item("Another."), item(f"two {run}")]
    assert [hit.item for hit in search(tmp_path, items, [example(run, "x")])] == [0, 2]


@pytest.mark.parametrize("count", [SHORT_WORDS, RUN_WORDS - 1])
def test_a_short_item_has_to_stand_in_a_row_as_a_whole(tmp_path: Path, count: int) -> None:
    short = " ".join(RUN[:count])
    rows = [example(f"So: {short}!", "x"), example(" ".join(RUN[: count - 1]), f"x {RUN[count]}")]
    hits = search(tmp_path, [item(short)], rows)
    assert [(hit.row, hit.words) for hit in hits] == [(0, short)]


def test_a_very_short_item_has_to_be_the_row(tmp_path: Path) -> None:
    rows = [
        example("Wer war es?", "Ich"),
        example("Wer war es?", "Du"),
        example("Sag: Wer war es?", "Ich"),
        example("wer war es", "ICH!"),
        example("Wer war", "es Ich"),
        question("Wer war es?", ("Ich", "Du"), language="en"),
    ]
    hits = search(tmp_path, [item("Wer war es?", "Ich."), item("Wer war es?")], rows)
    assert [(hit.row, hit.item, hit.is_whole) for hit in hits] == [
        (0, 0, True),
        (3, 0, True),
        (5, 0, True),
    ]


def test_runs_of_many_rows_are_instructions_and_count_for_nothing(tmp_path: Path) -> None:
    template = " ".join(RUN)
    for count, expected in ((COMMON_ROWS, COMMON_ROWS), (COMMON_ROWS + 1, 0)):
        rows = [example(f"{template} number {number}", "x") for number in range(count)]
        assert len(search(tmp_path / str(count), [item(f"{template} q")], rows)) == expected


def test_a_run_that_one_row_repeats_is_not_one_of_many_rows(tmp_path: Path) -> None:
    row = example(" ".join(RUN * (COMMON_ROWS + 1)), "x")
    assert [hit.row for hit in search(tmp_path, [item(" ".join(RUN))], [row])] == [0]


def test_an_item_may_begin_as_many_rows_do(tmp_path: Path) -> None:
    template = " ".join(RUN[:SHORT_WORDS])
    rows = [example(f"{template} number {number}", "x") for number in range(COMMON_ROWS + 1)]
    hits = search(tmp_path, [item(f"{template} number 3?")], rows)
    assert [(hit.row, hit.words) for hit in hits] == [(3, f"{template} number 3")]


def test_only_training_rows_are_searched(tmp_path: Path) -> None:
    run = " ".join(RUN)
    with spooled(tmp_path, [example(f"{run} {n}", "x") for n in range(4)]) as spool:
        trained = np.array([True, False, True, False])
        found = ItemIndex([item(run)]).search(spool, trained)
    assert [hit.row for hit in found] == [0, 2]


def naive(items: Sequence[Item], rows: list[InstructionExample]) -> set[tuple[int, int]]:
    """Every item against every row, as the definition says."""
    texts = [f"{row.messages[0].content} {row.messages[1].content}" for row in rows]
    pairs = [hash_pair(*(turn.content.encode() for turn in row.messages)) for row in rows]
    found = set()
    for index, one in enumerate(items):
        sought = one.words.decode().split()
        length = min(len(sought), RUN_WORDS)
        for begin in range(len(sought) - length + 1 if length >= SHORT_WORDS else 0):
            run = " ".join(sought[begin : begin + length])
            holders = [number for number, text in enumerate(texts) if f" {run} " in f" {text} "]
            found |= {(n, index) for n in holders if len(holders) <= COMMON_ROWS}
        found |= {(number, index) for number, pair in enumerate(pairs) if one.pair == pair}
    return found


SPOKEN = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=18).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(SPOKEN, SPOKEN), min_size=1, max_size=14), data=st.data())
def test_what_is_found_is_what_the_definition_says(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    data: st.DataObject,
) -> None:
    examples = [example(prompt, answer) for prompt, answer in rows]
    texts = st.one_of(st.sampled_from(rows), st.tuples(SPOKEN, SPOKEN))
    items = [item(*pair) for pair in data.draw(st.lists(texts, max_size=5))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "_CHUNK", data.draw(st.sampled_from([1, 100, 1 << 18])))
        hits = search(tmp_path_factory.mktemp("spool"), items, examples)
    assert {(hit.row, hit.item) for hit in hits} == naive(items, examples)
    for hit in hits:
        text = f"{rows[hit.row][0]} {rows[hit.row][1]}"
        shared = f" {hit.words} "
        assert shared in f" {text} "
        assert shared in f" {items[hit.item].words.decode()} "
