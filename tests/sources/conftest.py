"""One small sample for all tests of this folder; tests do not write into it."""

from pathlib import Path

import pytest

from minilingua.core.languages import LANGUAGES
from minilingua.params import SampleParams
from minilingua.sources.native import NativeRow, native_files, native_rows
from minilingua.sources.sample.generate import generate
from minilingua.sources.spec import Kind, SourceSpec, load_specs

SAMPLE_SOURCES = [name for name, spec in load_specs().items() if spec.in_sample]
SAMPLE = SampleParams(facts=120, instruction_rows=60, mcqa_rows=50, code_rows=40)


def in_sample(*kinds: Kind) -> list[str]:
    """Returns the sources of the sample that are of some kinds."""
    return [name for name in SAMPLE_SOURCES if load_specs()[name].kind in kinds]


def read_rows(source: SourceSpec, directory: Path, *languages: str) -> list[NativeRow]:
    """Returns all rows of a source in some languages."""
    return [
        row
        for file in native_files(source, directory, languages)
        for row in native_rows(source, file, languages)
    ]


@pytest.fixture(scope="session")
def sample_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("sample") / "raw"
    generate(raw, SAMPLE_SOURCES, list(LANGUAGES), SAMPLE, 11)
    return raw
