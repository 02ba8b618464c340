import gzip
import json
from pathlib import Path

from minilingua.provenance.contents import Contents
from minilingua.provenance.file_differences import describe_output
from tests.provenance.dvc_cache import store, store_directory

ROWS = [
    {"id": f"x-{n}", "instruction": f"Say {n}", "input": "", "output": f"{n}"} for n in range(6)
]


def packed(rows: list[dict[str, str]]) -> bytes:
    return gzip.compress(json.dumps(rows).encode(), mtime=0)


def told(root: Path, path: str, one: dict[str, bytes], other: dict[str, bytes]) -> str:
    a, b = store_directory(root, one), store_directory(root, other)
    return describe_output(path, a, b, Contents.of([root]))


def raw(root: Path, one: list[dict[str, str]], other: list[dict[str, str]]) -> str:
    same = {"aya/facts.json": b"{}"}
    return told(
        root,
        "data/raw",
        same | {"bactrian_x/data/fi.json.gz": packed(one), "manifest.json": b"1"},
        same | {"bactrian_x/data/fi.json.gz": packed(other), "manifest.json": b"2"},
    )


def test_rows_of_a_source_are_named(tmp_path: Path) -> None:
    edited = [ROWS[0], ROWS[1] | {"output": "one"}, *ROWS[2:]]
    where = "source bactrian_x: data/fi.json.gz"
    assert raw(tmp_path, ROWS, edited) == f"{where}: 1 row other content (row 2)"
    assert raw(tmp_path, ROWS, ROWS[:-1]) == f"{where}: 1 row only in the first (row 6)"
    assert raw(tmp_path, ROWS[2:], ROWS) == f"{where}: 2 rows only in the second (row 1, row 2)"
    assert raw(tmp_path, ROWS, ROWS[::-1]).endswith("the same rows in another order or form")


def test_files_that_one_side_lacks_are_named(tmp_path: Path) -> None:
    files = {f"aya/data/{n}.parquet": b"x" for n in range(5)}
    found = told(tmp_path, "data/raw", files, {})
    assert found == (
        "source aya: data/0.parquet only in one; data/1.parquet only in one; "
        "data/2.parquet only in one; and 2 more files"
    )


def test_conversations_are_told_by_source(tmp_path: Path) -> None:
    def lines(*sources: str) -> bytes:
        rows = [{"id": str(n), "source": source} for n, source in enumerate(sources)]
        return "".join(json.dumps(row) + "\n" for row in rows).encode()

    found = told(
        tmp_path,
        "data/conversations",
        {"train/fi.jsonl": lines("aya", "aya", "exams"), "manifest.json": b"1"},
        {"train/fi.jsonl": lines("aya"), "manifest.json": b"2"},
    )
    assert found == "train/fi.jsonl: 2 rows only in the first (aya, exams)"


def test_damaged_and_missing_contents_are_said_so(tmp_path: Path) -> None:
    found = told(
        tmp_path,
        "data/raw",
        {"bactrian_x/data/fi.json.gz": b"no gzip"},
        {"bactrian_x/data/fi.json.gz": packed(ROWS)},
    )
    assert found.endswith("data/fi.json.gz: not readable as rows")
    known = store_directory(tmp_path, {})
    gone = describe_output("data/raw", known, "f" * 32 + ".dir", Contents.of([tmp_path]))
    assert "not in the cache" in gone


def test_other_outputs_are_files(tmp_path: Path) -> None:
    a = {f"part-{n}": b"a" for n in range(5)}
    assert told(tmp_path, "models/hf", a, dict.fromkeys(a, b"b")) == (
        "part-0, part-1, part-2 and 2 more"
    )
    hashes = store(tmp_path, b"1"), store(tmp_path, b"2")
    found = describe_output("reports/evaluation.json", *hashes, Contents.of([tmp_path]))
    assert found == f"{hashes[0][:12]} and {hashes[1][:12]}"
