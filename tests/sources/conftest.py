"""One small sample for all tests of this folder; tests do not write into it."""

from pathlib import Path

import pytest

from minilingua.core.languages import LANGUAGES
from minilingua.params import SampleParams
from minilingua.sources.sample.generate import generate
from minilingua.sources.spec import SOURCE_NAMES

SAMPLE = SampleParams(facts=120, instruction_rows=60, mcqa_rows=50, code_rows=40)


@pytest.fixture(scope="session")
def sample_raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("sample") / "raw"
    generate(raw, SOURCE_NAMES, list(LANGUAGES), SAMPLE, 11)
    return raw
