from pathlib import Path

import numpy as np
import pytest

from benchmarks.reference_corpus import CONVERSATIONS, PUBLISHED, lengths, write_corpus
from minilingua.core.languages import LANGUAGES
from minilingua.core.manifest import Manifest
from minilingua.sources.read import read_instructions, read_multiple_choice
from minilingua.sources.sample.instruction_layouts import INSTRUCTION_LAYOUTS
from minilingua.sources.sample.multiple_choice_layouts import MULTIPLE_CHOICE_LAYOUTS


@pytest.mark.parametrize("code", PUBLISHED)
def test_lengths_have_the_published_mean_and_a_tail(code: str) -> None:
    conversations, tokens = PUBLISHED[code]
    found = lengths(code, 20_000)
    assert found.mean() == pytest.approx(tokens / conversations, rel=0.08)
    assert np.median(found) < 0.8 * found.mean()


def test_readers_find_as_many_rows_of_each_language_as_its_share(tmp_path: Path) -> None:
    written = write_corpus(tmp_path, 4000)
    raw, manifest = tmp_path / "data/raw", Manifest(stage="test")
    read = dict.fromkeys(LANGUAGES, 0)
    for name in INSTRUCTION_LAYOUTS:
        for example in read_instructions(raw, name, tuple(LANGUAGES), manifest):
            read[example.language] += 1
    for name in MULTIPLE_CHOICE_LAYOUTS:
        for item in read_multiple_choice(raw, name, tuple(LANGUAGES), manifest):
            read[item.language] += 1
    dropped = manifest.dropped.total()  # the oddities of the layouts
    assert sum(read.values()) + dropped == written == pytest.approx(4000, rel=0.02)
    assert dropped < 60
    for code, (conversations, _) in PUBLISHED.items():
        assert read[code] == pytest.approx(4000 * conversations / CONVERSATIONS, rel=0.1)
