"""What the data stages write is read by what others use."""

import json
from pathlib import Path
from typing import Any

import pytest

from minilingua.core.files import read_jsonl
from minilingua.core.records import SPLITS, Conversation
from tests.pipeline.workspace import Workspace


def test_conversations_load_with_datasets(
    prepared: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    directory = prepared.path / "data/conversations"
    found = load_dataset(
        "json",
        data_files={split: str(directory / split / "*.jsonl") for split in SPLITS},
        cache_dir=str(tmp_path),
    )
    for split in SPLITS:
        expected = {
            row.id: [(turn.role, turn.content) for turn in row.messages]
            for file in sorted((directory / split).glob("*.jsonl"))
            for row in read_jsonl(file, Conversation)
        }
        assert {
            row["id"]: [(turn["role"], turn["content"]) for turn in row["messages"]]
            for row in found[split]
        } == expected


def test_questions_load_with_datasets(
    prepared: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    files = sorted((prepared.path / "data/mcqa").glob("*.jsonl"))
    found = load_dataset(
        "json", data_files=[str(file) for file in files], split="train", cache_dir=str(tmp_path)
    )
    lines = [line for file in files for line in file.read_text().splitlines()]
    assert [row["row"] for row in found] == [json.loads(line)["row"] for line in lines]


def test_the_manifests_add_up(prepared: Workspace) -> None:
    """In = kept + dropped, for each source and language, from raw rows to conversations."""

    def manifest(stage: str) -> Any:
        found: Any = json.loads((prepared.path / "data" / stage / "manifest.json").read_text())
        return found

    raw, mcqa, curated = manifest("raw"), manifest("mcqa"), manifest("conversations")
    read = dict(curated["details"]["rows_read"])
    for source, languages in raw["kept"].items():
        for language, rows in languages.items():
            if source in mcqa["kept"]:
                dropped = _dropped(mcqa, source, language)
                made = mcqa["kept"][source].get(language, 0)
                assert rows == made + dropped, (source, language)
                rows = made
            assert rows == read[source].get(language, 0), (source, language)
            kept = curated["kept"].get(source, {}).get(language, 0)
            assert rows == kept + _dropped(curated, source, language), (source, language)


def _dropped(manifest: Any, source: str, language: str) -> int:
    return sum(sources.get(source, {}).get(language, 0) for sources in manifest["dropped"].values())
