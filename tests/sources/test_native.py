"""Native files become the same rows whatever form they have, and bad files name what is wrong."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilingua.core.errors import DataError, MissingInputError
from minilingua.sources import native
from minilingua.sources.native import NativeRow, native_files, native_rows
from minilingua.sources.spec import SourceSpec, load_spec, parse_spec
from tests.sources.test_spec import VALID

ALPACA = [
    {"instruction": "a", "input": "", "output": "x"},
    {"instruction": "b\u2028c\r", "input": "ü]", "output": "{"},
]


def spec(files: str, columns: str = "[instruction, input, output]") -> SourceSpec:
    return parse_spec(
        VALID.replace('["{language}/*.tsv"]', files).replace("[input, output]", columns), "x.yaml"
    )


def rows(source: SourceSpec, directory: Path, *languages: str) -> list[NativeRow]:
    return [
        row
        for file in native_files(source, directory, languages)
        for row in native_rows(source, file, languages)
    ]


def read_one(directory: Path, name: str, data: bytes, columns: str = "") -> list[dict[str, Any]]:
    (directory / name).write_bytes(data)
    source = spec(f'["{name}"]', columns or "[instruction, input, output]")
    return [row.values for row in rows(source, directory, "de")]


def test_lines_arrays_gzip_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ALPACA).encode()
    array = json.dumps(ALPACA, ensure_ascii=False, indent=2).encode()
    assert read_one(tmp_path, "a.jsonl", lines) == ALPACA
    assert read_one(tmp_path, "b.json", array) == ALPACA
    assert read_one(tmp_path, "c.json.gz", gzip.compress(lines)) == ALPACA
    assert read_one(tmp_path, "d.json.gz", gzip.compress(b" \n" + array)) == ALPACA
    pq.write_table(pa.Table.from_pylist(ALPACA), tmp_path / "e.parquet")
    found = [row.values for row in rows(spec('["e.parquet"]'), tmp_path, "de")]
    assert found == ALPACA


@given(
    values=st.lists(
        st.dictionaries(st.just("a"), st.text() | st.lists(st.integers()), min_size=1), max_size=5
    ),
    chunk=st.integers(1, 9),
    indent=st.none() | st.just(1),
)
def test_an_array_is_read_in_pieces_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], chunk: int, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("array")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "_CHUNK", chunk)
        data = json.dumps(values, indent=indent, ensure_ascii=False).encode()
        assert read_one(path, "x.json", data, "[a]") == values


def test_tab_separated_text_is_read_with_and_without_a_header(tmp_path: Path) -> None:
    raw = 'say "hi"\thi\talso accepted\nempty\t\nno tab\n'
    assert read_one(tmp_path, "raw.tsv", raw.encode(), "[input, output]") == [
        {"input": 'say "hi"', "output": "hi"},
        {"input": "empty", "output": ""},
        {"input": "no tab", "output": ""},
    ]
    quoted = 'output\tinput\n"a ""b"""\t"two\nlines"\n'
    assert read_one(tmp_path, "quoted.tsv", quoted.encode(), "[input, output]") == [
        {"input": "two\nlines", "output": 'a "b"'}
    ]


def test_files_and_languages_come_in_a_fixed_order(tmp_path: Path) -> None:
    source = load_spec("alpaca")
    for language in ("fi", "en"):
        (tmp_path / language).mkdir()
        for name in ("b.json", "a.json"):
            (tmp_path / language / name).write_text(json.dumps(ALPACA))
    found = native_files(source, tmp_path, ["fi", "en", "sv", "code"])
    assert [file.relative for file in found] == [
        "en/a.json", "en/b.json", "fi/a.json", "fi/b.json",
    ]  # fmt: skip
    assert [file.language for file in found] == ["en", "en", "fi", "fi"]
    assert native_files(source, tmp_path, ["sv"]) == []


def test_a_language_column_decides_in_files_of_several_languages(tmp_path: Path) -> None:
    def item(language: str) -> str:
        return json.dumps({"id": "1", "question": {}, "answerKey": "A",
                           "info": {"grade": 1, "subject": "", "language": language}})  # fmt: skip

    (tmp_path / "multilingual").mkdir()
    (tmp_path / "multilingual" / "train.jsonl").write_text(
        "\n".join(map(item, ["Bulgarian", "Turkish", "German", "Bulgarian"]))
    )
    found = rows(load_spec("exams"), tmp_path, "bg", "de")
    assert [(row.number, row.language) for row in found] == [(1, "bg"), (3, "de"), (4, "bg")]


def test_missing_files_are_named_with_the_language_and_the_pattern(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "en.json.gz").write_bytes(b"")
    with pytest.raises(MissingInputError) as caught:
        native_files(load_spec("bactrian_x"), tmp_path, ["en", "fi", "sv"])
    assert str(caught.value) == (
        f"{tmp_path}: no file for fi, sv; expected for fi: data/fi.json.gz"
    )


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.jsonl",
            b'{"instruction": "a", "output": "b", "inptu": ""}',
            r"a\.jsonl:1: found columns .*; expected .*; missing: input; unexpected: inptu",
        ),
        ("b.jsonl", b'{"instruction": "a", "input": "", "output": "b"}\n{"x', r"b\.jsonl:2: not"),
        ("c.jsonl", b"1\n", r"c\.jsonl:1: expected an object, found 1"),
        ("d.json", b'[{"instruction": "a", "input": "", "output": "b"},', r"d\.json: row 2: not"),
        ("e.json.gz", gzip.compress(b"[]" * 999)[:-9], r"e\.json\.gz: not a complete gzip"),
        ("f.json.gz", b"[]", r"f\.json\.gz: not a complete gzip"),
        ("g.jsonl", b'{"instruction": "\xff"}', r"g\.jsonl: not UTF-8: .* at byte 17"),
        ("h.parquet", b"PAR1 no", r"h\.parquet: not a readable parquet file"),
        ("i.tsv", b"one column\n", r"i\.tsv:1: found 1 column, expected instruction, input"),
        ("j.tsv", b"instruction\tanswer\n", r"j\.tsv: found columns answer, instruction; expec"),
    ],
)
def test_a_damaged_file_is_one_clear_line(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_one(tmp_path, name, data)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"question": ["q"], "answer": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: found columns answer, question; expected"):
        rows(spec('["a.parquet"]'), tmp_path, "de")


def test_a_file_may_have_any_of_its_layouts(tmp_path: Path) -> None:
    source = load_spec("include")
    for language, columns in (("German", ["choices"]), ("Finnish", ["option_a", "option_b"])):
        (tmp_path / language).mkdir()
        table = {name: ["x"] for name in ["question", *columns, "answer"]}
        pq.write_table(pa.table(table), tmp_path / language / "test.parquet")
    assert len(rows(source, tmp_path, "de")) == 1
    with pytest.raises(DataError, match=r"expected question, option_a.* or question, choices"):
        rows(source, tmp_path, "fi")
