"""A new source is one spec and one reader: a copy of the package gets them, and reads it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from minilingua.params_file import load_params

REPOSITORY = Path(__file__).parents[2]
SPEC = """
title: A toy
origin: https://example.org/toy
repositories: [{id: toys/questions}]
licence: CC0-1.0
commercial_use: true
citation: nobody
rows: "3"
kind: instruction
reader: minilingua.sources.readers.instructions:asked_answered
languages: {sv: swedish}
language_column: null
layouts:
  - files: ["{language}.jsonl"]
    columns: [asked, answered]
"""
READER = '''

def asked_answered(values: dict[str, Any]) -> Exchange:
    """Reads a toy."""
    return _exchange(text(values, "asked"), text(values, "answered"), "answered")
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout's package with the toy, and parameters that read it from a mirror."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=ignored)
    sources = tmp_path / "src/minilingua/sources"
    (sources / "specs/toy.yaml").write_text(SPEC)
    with (sources / "readers/instructions.py").open("a") as stream:
        stream.write(READER)
    raw = load_params(REPOSITORY / "params.yaml").model_dump(mode="json")
    raw["languages"] = ["sv"]
    raw["sources"] |= {"origin": "mirror", "mirror": "mirror", "include": ["toy", "swefaq"]}
    raw["curate"] |= {"unseen_facts": 0.0, "minimum_test_mcqa": 0, "validation": 0.0, "test": 0.0}
    (tmp_path / "params.yaml").write_text(json.dumps(raw))
    return tmp_path


def minilingua(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "minilingua", *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_spec_and_a_reader_are_all_that_a_source_takes(project: Path, sample_raw: Path) -> None:
    shutil.copytree(sample_raw / "swefaq", project / "mirror/swefaq")
    rows = [("Vad heter Finland?", "Finland."), ("Vem?", ""), ("Hur många?", "Fyra stycken.")]
    (project / "mirror/toy").mkdir()
    (project / "mirror/toy/swedish.jsonl").write_text(
        "\n".join(json.dumps({"asked": asked, "answered": answer}) for asked, answer in rows)
    )
    for stage in ("fetch", "mcqa", "curate"):
        result = minilingua(project, stage)
        assert result.returncode == 0, result.stderr
    fetched = json.loads((project / "data/raw/manifest.json").read_text())
    assert fetched["kept"]["toy"] == {"sv": 3}
    assert fetched["details"]["sources"]["toy"]["licence"] == "CC0-1.0"
    curated = json.loads((project / "data/conversations/manifest.json").read_text())
    assert curated["kept"]["toy"] == {"sv": 2}
    assert curated["dropped"]["empty_answer"]["toy"] == {"sv": 1}
    listed = minilingua(project, "sources").stdout
    assert " toys/questions " in listed
