"""Figures without the rows that curation found in the training data."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from minilingua.core.files import write_json
from minilingua.curation.benchmarks import read_benchmarks
from minilingua.lm_benchmarks.command import main
from minilingua.lm_benchmarks.contamination import Flags, flags_of, scores_of, without_found
from minilingua.lm_benchmarks.forms import Form, ItemsOf
from minilingua.lm_benchmarks.units import TASKS, Unit, units_of

Root = Callable[..., Path]
_FORM: Form = ("mmlux", "letter", None)


def _units(task: str, languages: tuple[str, ...]) -> list[Unit]:
    return units_of([TASKS[task]], languages)


def _looked(root: Path, mirror: Path, folder: str, found: list[dict[str, Any]]) -> None:
    """Leaves what curation does when ``sources.benchmarks`` is a folder of the mirror."""
    _, sets = read_benchmarks(mirror / folder)
    write_json(root / "data/conversations/manifest.json", {"details": {"benchmarks": sets}})
    lines = [json.dumps({"key": None, "is_dropped": False, **each}) + "\n" for each in found]
    (root / "data/conversations/contamination.jsonl").write_text("".join(lines))


def test_rows_are_found_by_the_names_that_curation_gives_them(
    root: Root, mirror: Path, tmp_path: Path
) -> None:
    path = root()
    shutil.copytree(mirror / "openGPT-X", tmp_path / "mirror/openGPT-X")
    mirror = tmp_path / "mirror"
    for file in mirror.glob("openGPT-X/mmlux/*_FI_*"):  # a translation has other bytes
        file.write_text(file.read_text().replace("Which is", "Mikä on"))
    units = _units("mmlux", ("de", "fi"))
    assert flags_of(units, mirror, None) == {}  # nobody looked
    names = "benchmarks/hendrycks"
    _looked(path, mirror, "openGPT-X/mmlux", [
        {"set": f"{names}_philosophy_DE_test", "item": "philosophy/test/1"},
        {"set": f"{names}_anatomy_DE_test", "item": "anatomy/test/3"},
        {"set": f"{names}_anatomy_FI_test", "item": "anatomy/test/0", "is_dropped": True},
        {"set": f"{names}_anatomy_FI_dev", "item": "anatomy/dev/0"},
    ])  # fmt: skip
    flags = flags_of(units, mirror, None)[_FORM]
    # Anatomy, then philosophy, as lm-eval splits them.
    assert flags["de"] == [False, False, False, True, False, True, False, False]
    assert flags["fi"] == [False] * 8
    assert flags_of(units, mirror, 3)[_FORM]["de"] == [False, False, False, False, True, False]


def test_lines_without_a_name_are_numbered(root: Root, mirror: Path) -> None:
    path = root()
    _looked(path, mirror, "facebook", [{"set": "benchmarks/belebele/data/fin_Latn", "item": "7"}])
    flags = flags_of(_units("belebele", ("fi",)), mirror, None)
    assert flags == {("belebele", "letter", None): {"fi": [False] * 6 + [True]}}
    chat = flags_of(_units("belebele_chat", ("en",)), mirror, None)
    assert {form[2] for form in chat} == {"en", "native"}
    assert flags_of(_units("sib200", ("fi",)), mirror, None) == {}  # curation reads no .tsv


def test_another_file_than_curation_saw_is_not_known(
    root: Root, mirror: Path, tmp_path: Path
) -> None:
    other = tmp_path / "mirror"
    shutil.copytree(mirror, other)
    _looked(root(), mirror, "facebook", [])
    file = other / "facebook/belebele/data/fin_Latn.jsonl"
    file.write_text("\n".join(file.read_text().splitlines()[1:]) + "\n")
    assert flags_of(_units("belebele", ("fi",)), other, None) == {}


def test_a_row_that_was_found_is_left_out_in_every_language() -> None:
    items: ItemsOf = {
        ("base", _FORM, "acc"): {"de": [1.0, 0.0, 1.0], "fi": [0.0, 0.0, 1.0]},
        ("base", _FORM, "chance"): {"de": [0.25] * 3, "fi": [0.25] * 3},
    }
    flags: Flags = {_FORM: {"de": [False, True, False], "fi": [False, False, False]}}
    kept = without_found(items, flags)
    suffixed = ("mmlux_uncontaminated", "letter", None)
    assert kept["base", suffixed, "acc"] == {"de": [1.0, 1.0], "fi": [0.0, 1.0]}
    scores = {(s.language, s.metric): s for s in scores_of(kept)}
    assert (scores["de", "acc"].value, scores["fi", "acc"].value) == (1.0, 0.5)
    assert scores["fi", "acc"].stderr == pytest.approx(0.5)
    assert scores["fi", "acc"].n == 2
    assert scores["fi", "chance"].stderr is None
    assert without_found(items, {_FORM: {"de": flags[_FORM]["de"]}}) == {}  # not known of Finnish
    all_found: Flags = {_FORM: {language: [True] * 3 for language in ("de", "fi")}}
    assert without_found(items, all_found) == {}


def test_the_command_scores_with_and_without(root: Root, mirror: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed here: `make lm-eval`")
    path = root()
    _looked(path, mirror, "facebook", [{"set": "benchmarks/belebele/data/fin_Latn", "item": "2"}])
    assert main(["--mirror", str(mirror), "--task", "belebele"]) == 0
    scores = json.loads((path / "reports/benchmarks.json").read_text())
    counts = {(s["task"], s["language"]): s["n"] for s in scores if s["metric"] == "acc"}
    assert counts["belebele", "fi"] == 7
    assert counts["belebele_uncontaminated", "fi"] == counts["belebele_uncontaminated", "de"] == 6
    assert counts["belebele_uncontaminated", "all"] == 12
    compared = json.loads((path / "reports/benchmarks/comparison.json").read_text())
    assert [(c["task"], c["n"]) for c in compared] == [
        ("belebele", 7),
        ("belebele_uncontaminated", 6),
    ]
    table = (path / "reports/benchmarks/table.md").read_text()
    assert "| belebele_uncontaminated | letter |" in table
