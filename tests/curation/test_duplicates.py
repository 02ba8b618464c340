from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.records import InstructionExample
from minilingua.curation.duplicates import find_copies
from minilingua.curation.publish import base_splits
from minilingua.curation.rows import Rows, Spool
from minilingua.curation.splits import TRAIN, Splits
from minilingua.curation.texts import fold
from tests.curation.examples import RULE, example, spooled

SOURCES = st.sampled_from(["aya", "alpaca", "bactrian_x"])
ROWS = st.lists(
    st.builds(
        lambda prompt, language, source, fact: example(
            prompt, "x", language=language, source=source, fact=fact
        ),
        st.text("abcAB ", max_size=3).map("a{}".format),
        st.sampled_from(["en", "de"]),
        SOURCES,
        st.sampled_from([None, "fact 1", "fact 2"]),
    ),
    max_size=30,
)
NONE = np.empty(0, dtype=np.uint64)


def splits_of(rows: Rows) -> Splits:
    return base_splits(RULE, NONE, rows["place"])


def kept(examples: list[InstructionExample]) -> set[tuple[str, int, int, int]]:
    """Returns language, source, id and split of the rows that stay."""
    with TemporaryDirectory() as directory:
        spooled(Path(directory), examples)
        spools = {code: Spool.open(Path(directory), code) for code in ("en", "de")}
    found = find_copies(list(spools), lambda code: spools[code].rows, splits_of)
    stays = set()
    for code, spool in spools.items():
        for index in np.setdiff1d(np.arange(len(spool.rows)), found[code].rows):
            row = spool.rows[index]
            stays.add((code, int(row["source"]), int(row["id"]), int(splits_of(spool.rows)[index])))
    return stays


@settings(max_examples=50)
@given(ROWS, st.data())
def test_one_of_each_text_stays_whatever_the_order(
    rows: list[InstructionExample], data: st.DataObject
) -> None:
    stays = kept(rows)
    assert len(stays) == len({fold(row.messages[0].content) for row in rows})
    assert kept(data.draw(st.permutations(rows))) == stays


@settings(max_examples=50)
@given(ROWS)
def test_a_copy_never_replaces_a_held_out_row(rows: list[InstructionExample]) -> None:
    with TemporaryDirectory() as directory:
        spooled(Path(directory), rows)
        spools = {code: Spool.open(Path(directory), code) for code in ("en", "de")}
    splits = {code: splits_of(spool.rows) for code, spool in spools.items()}
    found = find_copies(list(spools), lambda code: spools[code].rows, splits_of)
    for code, copies in found.items():
        for row, language, other, from_training in zip(
            copies.rows, copies.language, copies.kept, copies.from_training, strict=True
        ):
            kept_split = splits[("en", "de")[language]][other]
            assert splits[code][row] <= kept_split
            assert from_training == (splits[code][row] == TRAIN and kept_split != TRAIN)


@pytest.mark.parametrize(
    ("first", "second"),
    [(("a", "b"), ("b", "a")), (("10²", "x"), ("102", "x")), (("a b", "c"), ("a", "b c"))],
)
def test_other_texts_stay_apart(first: tuple[str, str], second: tuple[str, str]) -> None:
    assert len(kept([example(*first), example(*second)])) == 2


def test_a_row_that_knows_its_fact_stays_before_the_preferred_source() -> None:
    rows = [example("Wer?", "Ich"), example("Wer?", "Ich", source="bactrian_x", fact="fact")]
    assert {source for _, source, _, _ in kept(rows)} == {3}


def test_no_rows() -> None:
    assert kept([]) == set()
