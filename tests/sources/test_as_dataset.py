from dataclasses import asdict
from pathlib import Path

import pytest

from minilingua.core.errors import ParamsError
from minilingua.core.manifest import Manifest
from minilingua.sources.as_dataset import as_dataset
from minilingua.sources.read import read_instructions, read_multiple_choice


@pytest.mark.parametrize(("name", "languages"), [("exams", ["bg", "de"]), ("aya", ["fi", "en"])])
def test_rows_are_those_of_the_reader(sample_raw: Path, name: str, languages: list[str]) -> None:
    read = read_multiple_choice if name == "exams" else read_instructions
    expected = [asdict(row) for row in read(sample_raw, name, languages, Manifest(stage="test"))]
    found = as_dataset(name, languages, sample_raw)
    assert list(found) == expected
    assert list(found.filter(lambda row: row["language"] == languages[0])) == [
        row for row in expected if row["language"] == languages[0]
    ]


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(ParamsError, match="unknown source 'ayaa'"):
        as_dataset("ayaa", ["fi"])
