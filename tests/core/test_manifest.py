"""Every dropped row has a reason and a count."""

import json
from pathlib import Path

import pytest

from minilingua.core.manifest import Manifest, read_manifest


def test_counts_add_up_and_bytes_do_not_depend_on_order(tmp_path: Path) -> None:
    for name, order in (("a", 1), ("b", -1)):
        manifest = Manifest(stage="curate")
        for source, language, rows in [("exams", "bg", 3), ("aya", "fi", 2)][::order]:
            manifest.keep(source, language, rows)
        for reason in ["empty_answer", "too_long"][::order]:
            manifest.drop(reason, "aya", "fi")
        manifest.write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    written = json.loads((tmp_path / "a").read_text())
    assert written["rows_kept"] == 5
    assert written["rows_dropped"] == 2
    assert written["dropped"]["empty_answer"] == {"aya": {"fi": 1}}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    manifest = Manifest(stage="curate", details={"rows": [1, 2]})
    manifest.keep("exams", "bg", 3)
    manifest.drop("empty_answer", "aya", "fi", 2)
    manifest.write(tmp_path / "a")
    assert read_manifest(tmp_path / "a") == manifest


def test_parts_add_up() -> None:
    whole, part = (Manifest(stage="curate", details={"files": [name]}) for name in "ab")
    for manifest in (whole, part):
        manifest.keep("exams", "bg", 3)
        manifest.drop("empty_answer", "aya", "fi", 2)
    part.drop("too_long", "aya", "fi")
    whole.merge(part)
    assert whole.kept == {("exams", "bg"): 6}
    assert whole.dropped == {("empty_answer", "aya", "fi"): 4, ("too_long", "aya", "fi"): 1}
    assert whole.details == {"files": ["a", "b"]}
    whole.details["seed"], part.details["seed"] = 1, 2
    with pytest.raises(ValueError, match="seed: 1 and 2 cannot be merged"):
        whole.merge(part)
