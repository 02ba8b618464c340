"""The page, from a finished line on disk, in a real browser."""

import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from minilingua.cli import main
from minilingua.core.files import write_json, write_text
from minilingua.evaluation.comparison import compare
from minilingua.evaluation.plot import write_comparison_plot
from minilingua.evaluation.scores import write_items
from tests.browser import DESK, PHONE, shown
from tests.evaluation.test_aggregate import item
from tests.tracking.workspace import (
    COMMIT,
    RUN_KEY,
    Workspace,
    telemetry_record,
    training_events,
)

PAGE = Path("reports/index.html")


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(root=tmp_path)
    workspace.whole_line()
    return workspace


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.usefixtures("line")
def test_the_page_in_a_browser(width: int) -> None:
    assert main(["report"]) == 0
    with shown(PAGE, width) as found:
        page = found.page
        assert not found.complaints
        assert found.overflow == 0
        assert page.locator("svg[role=img]").count() == 4
        assert page.get_by_role("heading", level=2).all_inner_texts() == [
            "Results by language",
            "Training",
            "Data",
            "How it was made",
        ]
        assert RUN_KEY in page.locator("body").inner_text()
        # What is folded opens, and charts have a size.
        page.get_by_text("Parameters", exact=True).click()
        assert page.get_by_text("train.lr", exact=True).is_visible()
        box = page.locator("svg[role=img]").first.bounding_box()
        assert box is not None
        assert box["height"] > 100
        assert box["width"] > 570  # on a phone it scrolls: smaller, nobody could read its labels
        attempt = page.locator("table", has_text="Slurm job").locator("tbody tr")
        assert attempt.all_inner_texts() == [
            f"1\t1 to 12\tfinished\tunknown\tnone\tnone\tnone\t{COMMIT[:12]}"
        ]


@pytest.mark.usefixtures("line")
def test_equal_content_gives_equal_bytes_and_ids_are_not_shared() -> None:
    main(["report"])
    first = PAGE.read_bytes()
    main(["report", "--output", "other.html"])
    assert Path("other.html").read_bytes() == first
    ids = re.findall(r'\bid="([^"]+)"', first.decode())
    assert len(ids) == len(set(ids))
    text = first.decode()
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
    assert "http://" not in re.sub(r'xmlns[:\w]*="[^"]+"', "", text)


def test_code_that_did_not_make_the_result_is_named(line: Workspace) -> None:
    line.lock()
    write_text(line.root / "src/convert.py", "# other code")
    assert main(["report"]) == 0
    text = " ".join(PAGE.read_text().split())
    assert "not what made this:</b> src/convert.py changed since a stage read them" in text


def test_outputs_of_two_trainings_are_not_told_as_one(
    line: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    line.lock()
    assert main(["report"]) == 0
    before = PAGE.read_bytes()
    line.publish(training_events(8))  # trained anew; the evaluation is still that of the last
    assert main(["report"]) == 2
    assert "models/hf is not the export of the training" in capsys.readouterr().err
    line.publish()
    ledger = line.root / "reports/mixture.csv"
    ledger.write_text(ledger.read_text()[:-9])
    assert main(["report"]) == 2
    assert "reports/mixture.csv is not what the stage pack made" in capsys.readouterr().err
    assert PAGE.read_bytes() == before


ANSWERS = (
    {"id": "b", "language": "fi", "prompt": "Later", "reference": "-", "base": "", "result": "-"},
    {"id": "a", "language": "fi", "prompt": "First <b>", "reference": "Kyllä", "base": "",
     "result": "Ei " * 200},
    {"id": "c", "language": "en", "prompt": "Why?", "reference": "So.", "base": "x", "result": "y"},
)  # fmt: skip


def test_sample_answers_and_where_the_time_went(line: Workspace) -> None:
    steps = "".join(
        telemetry_record(
            "step", 1, 20.0 + step, step=step, seconds=1.0, data_seconds=0.1, compute_seconds=0.6,
            optimizer_seconds=0.2, tokens_per_second=900.0, supervised_tokens_per_second=300.0,
            conversations_per_second=9.0, memory_mb=512.0,
        )
        for step in (1, 2)
    )  # fmt: skip
    line.add_telemetry(steps)
    lines = "".join(json.dumps(answer) + "\n" for answer in ANSWERS)
    write_text(line.root / "reports/evaluation/answers.jsonl", lines)
    assert main(["release"]) == 0
    with shown(PAGE, PHONE) as found:
        assert not found.complaints
        assert found.overflow == 0
        page = found.page
        chart = page.get_by_label("Tokens a second left after each thing that takes time")
        assert "waiting for data" in chart.inner_html()
        rows = page.locator("table.answers tbody tr")
        assert rows.all_inner_texts()[0].startswith("en\tWhy?\tSo.\tx\ty")  # the run's order
        assert rows.count() == 2
        fi = rows.nth(1).locator("td").all_inner_texts()
        assert fi[1:4] == ["First <b>", "Kyllä", "(nothing)"]
        assert len(fi[4]) <= 280
    # Rows of the test data do not leave with the model.
    assert "Kyllä" in PAGE.read_text()
    assert "Kyllä" not in Path("models/release/report.html").read_text()


def test_comparisons_with_significance(line: Workspace) -> None:
    """Base and result, and another run for as long as it was compared with this evaluation."""
    results = [
        item(
            str(number), hit, model=model, language=language, answer_format="text", fact=f"{number}"
        )
        for number in range(40)
        for language in ("en", "fi")
        for model, hit in (("base", float(number % 4 == 0)), ("result", float(number % 8 > 0)))
    ]
    sides = [[r for r in results if r.model == model] for model in ("base", "result")]
    compared = compare(*sides, seed=1, resamples=2000).comparisons
    details = line.root / "reports/evaluation"
    write_items(details / "items.jsonl", results)
    write_json(details / "comparison.json", [asdict(found) for found in compared])
    write_comparison_plot(details / "comparison.png", compared, "base", "result")
    write_items(line.root / "other/items.jsonl", results)
    assert main(["compare", "other", "."]) == 0
    assert main(["report"]) == 0
    with shown(PAGE, PHONE) as found:
        assert not found.complaints
        assert found.overflow == 0
        page = found.page
        headings = page.get_by_role("heading", level=2).all_inner_texts()
        assert headings[1:3] == ["result against base", "this run against other"]
        rows = page.locator("table.comparison").first.locator("tbody tr").all_inner_texts()
        cells = [row.split("\t") for row in rows]
        assert cells[0][:6] == ["text, all questions", "80", "0.250", "0.250", "0.875", "+0.625"]
        assert cells[0][7:] == ["<0.001", "better"]
        assert [cell[0] for cell in cells[1:]] == ["text, en", "text, fi"]
        other = page.locator("table.comparison").nth(1).locator("tbody tr").first.inner_text()
        assert other.split("\t")[5:8] == ["+0.000", "+0.000..+0.000", "1.000"]
        assert other.split("\t")[8].strip() == ""  # a draw
        page.get_by_text("Picture, by language").first.click()
        box = page.locator("img").first.bounding_box()
        assert box is not None
        assert box["height"] > 100
    write_items(details / "items.jsonl", results[:2])  # evaluated anew since
    write_items(line.root / "other/items.jsonl", results[:2])
    assert main(["report"]) == 0
    assert "against other" not in PAGE.read_text()
    write_text(details / "comparison.json", "[{}]")
    assert main(["report"]) == 2


def test_answers_that_are_none_are_named(
    line: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(line.root / "reports/evaluation/answers.jsonl", '{"id": "a"}\n')
    assert main(["report"]) == 2
    assert "reports/evaluation/answers.jsonl:1: language: " in capsys.readouterr().err


def test_what_is_missing_is_named(line: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(line.root / "data/conversations")
    assert main(["report"]) == 2
    assert "`minilingua curate` makes it" in capsys.readouterr().err
    assert not PAGE.exists()


def test_without_telemetry_and_with_drops(line: Workspace) -> None:
    shutil.rmtree(line.root / "runs")
    manifest = {
        "rows_kept": 7,
        "dropped": {"wrong_language": {"aya": {"en": 3, "fi": 1}}},
        "details": {"contamination": {"benchmarks/x": {"items_found": 2, "items_trained_on": 0}}},
    }
    write_json(line.root / "data/conversations/manifest.json", manifest)
    assert main(["report"]) == 0
    text = " ".join(PAGE.read_text().split())
    assert "4 wrong language" in text
    assert "Of benchmarks/x, 2 items were found in other rows, 0 of them" in text
    assert "step (median)" not in text
