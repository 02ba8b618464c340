"""The page, from a finished line on disk, in a real browser."""

import re
import shutil
from pathlib import Path

import pytest

from minilingua.cli import main
from minilingua.core.files import write_json
from tests.browser import DESK, PHONE, shown
from tests.tracking.workspace import RUN_KEY, Workspace

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
