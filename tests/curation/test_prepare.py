import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.errors import DataError
from minilingua.core.files import dump_record
from minilingua.core.records import Choice, Conversation, InstructionExample, Message
from minilingua.curation.prepare import (
    ExampleInput,
    PrepareTask,
    conversation_id,
    conversation_line,
    order_of,
    prepare,
)
from minilingua.curation.rows import Spool
from tests.curation.examples import RULE, SETTINGS, Given, example, spooled

TEXT = st.text()
CHOICE = st.builds(
    Choice,
    question=TEXT,
    options=st.tuples(TEXT, TEXT),
    candidates=st.tuples(TEXT, TEXT),
    answer=st.integers(0, 1),
    answer_format=st.sampled_from(["letter", "number", "text"]),
    instruction_language=TEXT,
)
EXAMPLE = st.builds(
    InstructionExample,
    source=TEXT,
    row=TEXT,
    language=TEXT,
    task=st.sampled_from(["instruction", "mcqa", "code"]),
    messages=st.lists(
        st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=TEXT)
    ).map(tuple),
    key=TEXT,
    choice=st.none() | CHOICE,
    fact=st.none() | TEXT,
)


@given(EXAMPLE)
def test_a_line_is_canonical_json_of_a_conversation(row: InstructionExample) -> None:
    identity = conversation_id(row)
    conversation = Conversation(
        id=identity,
        key=row.key,
        source=row.source,
        language=row.language,
        task=row.task,
        messages=row.messages,
        choice=row.choice,
        fact=row.fact,
    )
    assert conversation_line(row, identity).decode() == dump_record(conversation) + "\n"


def test_the_spool_gives_rows_back(tmp_path: Path) -> None:
    rows = [example(f"Frage {n}?", f"Antwort {n}", fact="f" if n % 2 else None) for n in range(9)]
    spooled(tmp_path, rows[:5], task=3)
    with spooled(tmp_path, rows[5:], task=7) as spool:
        assert len(spool.rows) == 9
        for index, row in enumerate(rows):
            assert json.loads(spool.line(index))["messages"][0]["content"] == f"Frage {index}?"
            assert spool.where(index) == row.row
            assert spool.words(index) == f"frage {index} antwort {index}".encode()
            assert spool.rows["word_count"][index] == 4
            assert spool.rows["has_fact"][index] == (index % 2 == 1)
            assert spool.rows["order"][index] == order_of(row)
            assert f"{spool.rows['id'][index]:016x}" == conversation_id(row)
        chunks = list(spool.chunks())
        assert [first for first, _ in chunks] == [0, 5]
        assert b"".join(text for _, text in chunks).count(b"\n") == 9


def test_large_words_come_in_several_chunks(tmp_path: Path) -> None:
    rows = [example(f"{n} {'wort ' * 60}", "x" * 90_000) for n in range(40)]
    given = Given(examples=tuple(rows))
    unlimited = SETTINGS.__class__(
        max_characters=1 << 20, filters=(), rule=RULE, sources=SETTINGS.sources
    )
    prepare(PrepareTask(number=0, rows=given, spool=tmp_path, settings=unlimited))
    with Spool.open(tmp_path, "en") as spool:
        chunks = list(spool.chunks())
        assert len(chunks) > 2
        for (first, text), (after, _) in zip(chunks, [*chunks[1:], (40, b"")], strict=True):
            assert text.count(b"\n") == after - first
            assert text.startswith(f"{first} ".encode())


def test_a_language_without_rows_has_an_empty_spool(tmp_path: Path) -> None:
    with Spool.open(tmp_path, "fi") as spool:
        assert len(spool.rows) == 0
        assert list(spool.chunks()) == []


def test_drops_and_held_out_keys_are_handed_back(tmp_path: Path) -> None:
    fact = next(f"fact {n}" for n in range(99) if RULE.holds_out(f"fact {n}"))
    rows = [example("a", "b", fact=fact), example("c", " "), example("d", "e", source="alpaca")]
    given = Given(examples=tuple(rows))
    done = prepare(PrepareTask(number=0, rows=given, spool=tmp_path, settings=SETTINGS))
    assert len(done.held_out) == 1
    assert done.ledger.read == {("aya", "en"): 2, ("alpaca", "en"): 1}
    assert done.ledger.manifest.reasons() == {"empty_answer": 1}
    assert [row.found for row in done.ledger.manifest.rejects.rows()] == ["turn 2"]


def test_examples_of_a_stage_are_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "de.jsonl"
    path.write_text('{"source":"exams"}\n')
    task = PrepareTask(number=0, rows=ExampleInput(path=path), spool=tmp_path, settings=SETTINGS)
    with pytest.raises(DataError, match=r"de\.jsonl:1: row: Field required"):
        prepare(task)
