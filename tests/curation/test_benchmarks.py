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


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", b"{]\n", r"a\.jsonl:1: not JSON"),
        ("a.jsonl", b"[1]\n", r"a\.jsonl:1: expected an object"),
        ("a.jsonl", b'{"frage": "Wer?"}\n', r"a\.jsonl:1: no question; .* found frage"),
        ("a.txt", b"\xff\n", r"a\.txt: not UTF-8"),
        ("a.csv", b"x\n", r"a\.csv: benchmarks are \.jsonl, \.parquet, \.txt files"),
        ("a.parquet", b"x\n", r"a\.parquet: not a readable parquet file"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, text: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(text)
    with pytest.raises(DataError, match=message):
        read_benchmarks(tmp_path)


def test_two_files_of_one_name_and_no_file_are_errors(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"sources\.benchmarks: .* is no directory"):
        read_benchmarks(tmp_path / "absent")
    for name in ("a.txt", "a.jsonl"):
        (tmp_path / name).write_text('{"question": "Wer?"}\n')
    with pytest.raises(DataError, match="another file of the same name"):
        read_benchmarks(tmp_path)
