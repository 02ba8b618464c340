"""Native files become the same rows whatever form they have, and bad files name what is wrong."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minilingua.core.errors import DataError
from minilingua.sources import decode
from minilingua.sources.spec import SourceSpec, parse_spec
from tests.sources.conftest import read_rows
from tests.sources.test_spec import VALID

ALPACA = [
    {"instruction": "a", "input": "", "output": "x"},
    {"instruction": "b\u2028c\r", "input": "ü]", "output": "{"},
]


def spec(files: str, columns: str = "[instruction, input, output]") -> SourceSpec:
    return parse_spec(
        VALID.replace('["{language}/*.tsv"]', files).replace("[input, output]", columns), "x.yaml"
    )


def damaged_gzip() -> bytes:
    """Returns a file whose compressed blocks make no sense, as after a bad sector."""
    whole = bytearray(gzip.compress(json.dumps([ALPACA] * 999).encode()))
    whole[40:60] = bytes(20)
    return bytes(whole)


def read_one(directory: Path, name: str, data: bytes, columns: str = "") -> list[dict[str, Any]]:
    (directory / name).write_bytes(data)
    source = spec(f'["{name}"]', columns or "[instruction, input, output]")
    return [row.values for row in read_rows(source, directory, "de")]


def test_lines_arrays_gzip_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ALPACA).encode()
    array = json.dumps(ALPACA, ensure_ascii=False, indent=2).encode()
    assert read_one(tmp_path, "a.jsonl", lines) == ALPACA
    assert read_one(tmp_path, "b.json", array) == ALPACA
    assert read_one(tmp_path, "c.json.gz", gzip.compress(lines)) == ALPACA
    assert read_one(tmp_path, "d.json.gz", gzip.compress(b" \n" + array)) == ALPACA
    pq.write_table(pa.Table.from_pylist(ALPACA), tmp_path / "e.parquet")
    found = [row.values for row in read_rows(spec('["e.parquet"]'), tmp_path, "de")]
    assert found == ALPACA


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arrays")


@settings(deadline=None)  # a file is written for each example
@given(
    values=st.lists(
        st.dictionaries(st.just("a"), st.text() | st.lists(st.integers()), min_size=1), max_size=5
    ),
    chunk=st.integers(1, 9),
    indent=st.none() | st.just(1),
)
def test_an_array_is_read_in_pieces_of_any_size(
    arrays: Path, values: list[Any], chunk: int, indent: int | None
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "_CHUNK", chunk)
        data = json.dumps(values, indent=indent, ensure_ascii=False).encode()
        assert read_one(arrays, "x.json", data, "[a]") == values


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
        # Its time would be in the test's name, which processes of `pytest -n` compare.
        ("e.json.gz", gzip.compress(b"[]" * 999, mtime=0)[:-9], r"e\.json\.gz: not a complete"),
        ("f.json.gz", b"[]", r"f\.json\.gz: not a complete gzip"),
        ("g.jsonl", b'\n{"instruction": "\xff"}', r"g\.jsonl:2: not UTF-8: .* at byte 17 of the"),
        ("k.json.gz", b"", r"k\.json\.gz: not a complete gzip file: it is empty"),
        ("l.json.gz", damaged_gzip(), r"l\.json\.gz: not a complete gzip"),
        (
            "m.json",
            b'[{"instruction": "a", "input": "", "output": "b"}]\n[]',
            r"m\.json: there is more",
        ),
        ("q.json", b"[,]", r"q\.json: row 1: not JSON"),
        ("r.json", b'[{"instruction": "a", "input": "", "output": "b"},]', r"r\.json: row 2: not"),
        (
            "s.json",
            b'[{"instruction": "a", "input": "", "output": "b"}\n{"instruction": "a"}]',
            r"s\.json: row 2: not JSON: no comma",
        ),
        ("t.jsonl", b"{", r"t\.jsonl:1: not JSON"),
        ("n.jsonl", b'{"instruction": ' + b"[" * 10**5, r"n\.jsonl:1: not JSON: .*recursion"),
        ("o.jsonl", b'{"instruction": ' + b"9" * 5000 + b"}", r"o\.jsonl:1: not JSON: .*digits"),
        ("p.tsv", b'instruction\tinput\toutput\na\t"b\tc\nd\te\tf\n', r"p\.tsv:\d: .*end of data"),
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
        read_rows(spec('["a.parquet"]'), tmp_path, "de")


def test_a_damaged_page_of_a_parquet_file_is_one_clear_line(tmp_path: Path) -> None:
    rows = [{"instruction": f"{number} " * 99, "input": "", "output": "x"} for number in range(999)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    data[20:400] = bytes(380)
    (tmp_path / "a.parquet").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.parquet: not a readable parquet file") as caught:
        read_rows(spec('["a.parquet"]'), tmp_path, "de")
    assert "\n" not in str(caught.value)


def test_a_date_that_python_cannot_hold_is_one_clear_line(tmp_path: Path) -> None:
    dates = pa.array([2**31 - 1], pa.date32())
    table = pa.table({"instruction": dates, "input": [""], "output": ["x"]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: not a readable parquet file: .*magnitude"):
        read_rows(spec('["a.parquet"]'), tmp_path, "de")


def test_text_in_a_parquet_file_that_is_not_utf8_is_one_clear_line(tmp_path: Path) -> None:
    bad = pa.array([b"ok", b"\xff\xfe"]).cast(pa.string(), safe=False).view(pa.string())
    table = pa.table({"instruction": bad, "input": ["", ""], "output": ["x", "y"]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: not a readable parquet file: .*utf-8"):
        read_rows(spec('["a.parquet"]'), tmp_path, "de")


def test_a_very_long_line_is_a_row_like_any_other(tmp_path: Path) -> None:
    long = "x" * (50 << 20)
    rows = [{"instruction": "a", "input": "", "output": text} for text in ("b", long, "c")]
    lines = "\n".join(map(json.dumps, rows)).encode()
    for name, data in (("a.jsonl", lines), ("b.json", json.dumps(rows).encode())):
        assert [row["output"] for row in read_one(tmp_path, name, data)] == ["b", long, "c"]
    table = f'instruction\tinput\toutput\na\t\t"b"\na\t\t"{long}"\na\t\tc\n'.encode()
    assert [row["output"] for row in read_one(tmp_path, "c.tsv", table)] == ["b", long, "c"]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    mark = b"\xef\xbb\xbf"
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in ALPACA).encode()
    assert read_one(tmp_path, "a.jsonl", mark + lines) == ALPACA
    table = mark + b"input\toutput\na\tb\n"
    assert read_one(tmp_path, "b.tsv", table, "[input, output]") == [{"input": "a", "output": "b"}]


def test_lines_are_numbered_as_an_editor_does(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n\n" + json.dumps(ALPACA[0]).encode() + b"\n\n{")
    with pytest.raises(DataError, match=r"a\.jsonl:5: not JSON"):
        read_rows(spec('["a.jsonl"]'), tmp_path, "de")


def test_a_file_without_rows_is_no_error(tmp_path: Path) -> None:
    for name, data in (("a.jsonl", b""), ("b.json", b"[]"), ("c.json.gz", gzip.compress(b""))):
        assert read_one(tmp_path, name, data) == []
