import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from minilingua.core.errors import DataError, MissingInputError
from minilingua.curation.benchmarks import read_benchmarks
from minilingua.curation.contamination import hash_pair


def test_files_of_every_kind_are_sets(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("Wer war es?\nWo war es?\n")
    objects = [
        {"id": "MCQA_7", "question": {"stem": "Who?", "choices": []}, "answer": "Me."},
        {"inputs": "Hvem?", "targets": "Jeg"},
        {"instruction": "Say it!", "output": ""},
    ]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.jsonl").write_text("".join(json.dumps(o) + "\n" for o in objects))
    pq.write_table(pa.table({"question": ["Τι;"], "answer": [2]}), tmp_path / "z.parquet")
    items, sets = read_benchmarks(tmp_path)
    assert [(item.set, item.name, item.words.decode()) for item in items] == [
        ("benchmarks/deep/a", "MCQA_7", "who me"),
        ("benchmarks/deep/a", "2", "hvem jeg"),
        ("benchmarks/deep/a", "3", "say it"),
        ("benchmarks/own", "1", "wer war es"),
        ("benchmarks/own", "2", "wo war es"),
        ("benchmarks/z", "1", "τι"),
    ]
    assert items[0].pair == hash_pair(b"who", b"me")
    assert [item.pair for item in items[2:]] == [None] * 4
    assert {name: found["items"] for name, found in sets.items()} == {
        "benchmarks/deep/a": 3,
        "benchmarks/own": 2,
        "benchmarks/z": 1,
    }
    assert all(len(found["sha256"]) == 64 for found in sets.values())


OPTIONS = ["One", "Two", "Three", "Four"]
COLUMNS = dict(zip(("option_a", "option_b", "option_c", "option_d"), OPTIONS, strict=True))
LABELLED = [{"label": label, "text": text} for label, text in zip("ABCD", OPTIONS, strict=True)]


@pytest.mark.parametrize(
    "row",
    [
        {"question": {"stem": "Which?", "choices": LABELLED}, "answerKey": "C"},
        {"question": "Which?", "choices": LABELLED, "answerKey": "C"},
        {"question": "Which?", "candidate_answers": OPTIONS, "label": 2},
        {"question": "Which?", "mc1_targets": {"choices": OPTIONS, "labels": [0, 0, 1, 0]}},
        {"question": "Which?", "choices": OPTIONS, "answer": 2},
        {"question": "Which?", "choices": OPTIONS, "answer": "Three"},
        {"question": "Which?", **COLUMNS, "answer": 2},
        {"question": "Which?", **COLUMNS, "answer": "C"},
        {
            "question": "Which?",
            **{f"mc_answer{place}": text for place, text in enumerate(OPTIONS, start=1)},
            "correct_answer_num": "3",
        },
    ],
)
def test_a_key_is_no_answer_but_the_option_that_it_points_at(
    tmp_path: Path, row: dict[str, object]
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    ((item,), _) = read_benchmarks(tmp_path)
    assert item.words == b"which three"
    assert item.pair == hash_pair(b"which", b"three")


@pytest.mark.parametrize(
    "row",
    [
        {"question": {"stem": "Which?", "choices": LABELLED}, "answerKey": "@"},
        {"question": "Which?", **COLUMNS, "answer": "E"},
        {"question": "Which?", "mc_answer1": "One", "correct_answer_num": "x"},
    ],
)
def test_without_a_usable_key_the_question_alone_is_looked_for(
    tmp_path: Path, row: dict[str, object]
) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(row) + "\n")
    ((item,), _) = read_benchmarks(tmp_path)
    assert (item.words, item.pair) == (b"which", None)


def test_a_directory_may_be_what_a_download_left(tmp_path: Path) -> None:
    for name in ("README.md", ".gitattributes", ".cache/huggingface/x.metadata", "sub/LICENSE"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("not a question\n")
    (tmp_path / "test.tsv").write_text('index_id\tcategory\ttext\n1\tsports\tThey "won.\n')
    (tmp_path / "fin_Latn.devtest").write_text("Yksi lause.\n")
    items, _ = read_benchmarks(tmp_path)
    assert [item.words for item in items] == [b"yksi lause", b"they won"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", b"Wer war es?\r\n\r\n"),
        ("a.jsonl", b'{"question": "Wer war es?"}\n\n'),
        ("a.jsonl", b'{"question": "Wer \\ud800 war es?"}'),
        ("a.tsv", b"question\tkey\r\nWer\rwar es?\t1\r\n"),
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_what_is_no_text_is_no_part_of_a_question(
    tmp_path: Path, name: str, text: bytes, mark: bytes
) -> None:
    (tmp_path / name).write_bytes(mark + text)
    ((item,), _) = read_benchmarks(tmp_path)
    assert (item.words, item.name) == (b"wer war es", "1")


def test_a_passage_of_any_length_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(f"question\tanswer\n{'a ' * 100_000}\tb\n")
    ((item,), _) = read_benchmarks(tmp_path)
    assert len(item.words) == 200_001


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", b"{]\n", r"a\.jsonl:1: not JSON"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1: expected an object"),
        ("a.jsonl", b'{"frage": "Wer?"}\n', r"a\.jsonl:1: no question; .* found frage"),
        ("a.jsonl", b"[" * 10**5, r"a\.jsonl:1: not JSON: .*recursion"),
        ("a.jsonl", b'{"question": "a"}\n\n{]', r"a\.jsonl:3: not JSON"),
        ("a.txt", b"\xff\n", r"a\.txt: not UTF-8"),
        ("a.csv", b"x\n", r"a\.csv: benchmarks are \.jsonl, \.parquet, \.tsv, \.txt"),
        ("a.parquet", b"x\n", r"a\.parquet: not a readable parquet file"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, text: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(DataError, match=message):
        read_benchmarks(tmp_path)


def test_a_damaged_page_is_named(tmp_path: Path) -> None:
    table = pa.table({"question": [f"{number} " * 99 for number in range(999)]})
    pq.write_table(table, tmp_path / "a.parquet")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[20:400] = bytes(380)
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet: not a readable parquet file") as caught:
        read_benchmarks(tmp_path)
    assert "\n" not in str(caught.value)


def test_two_files_of_one_name_and_no_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"sources\.benchmarks: .* is not a directory"):
        read_benchmarks(tmp_path / "absent")
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_text('{"question": "Wer?"}\n')
    with pytest.raises(DataError, match="another file of the same name"):
        read_benchmarks(tmp_path)
