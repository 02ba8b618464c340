import json
import platform
from pathlib import Path

import pytest

from benchmarks.harness import WHOLE, Timings
from benchmarks.results import RESULTS, Result, Row, report, row

TIMINGS = Timings(seconds={"ours": [{WHOLE: 1.0}] * 3, "theirs": [{WHOLE: 2.0}] * 3})


def made(**changes: object) -> Row:
    options: dict[str, object] = {"ours": "ours", "theirs": "theirs", **changes}
    return row(TIMINGS, "case", "theirs", **options)  # type: ignore[arg-type]  # options of the test


@pytest.mark.parametrize(
    ("options", "ratio", "met"),
    [
        ({}, 2.0, None),
        ({"target": 2.0}, 2.0, True),
        ({"target": 2.1}, 2.0, False),
        ({"measure": "time"}, 0.5, None),
        ({"measure": "time", "target": 0.5}, 0.5, True),
        ({"measure": "time", "target": 0.4}, 0.5, False),
    ],
)
def test_speed_has_a_least_ratio_and_time_a_largest(
    options: dict[str, object], ratio: float, met: bool | None
) -> None:
    item = made(**options)
    assert item.ratio == ratio
    assert item.met is met


def test_report_writes_what_it_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = Result(
        benchmark="some",
        claim="A claim.",
        settings={"threads": 2, "load_average_before": 0.25},
        checks={"equal": True},
        rows=[made(target=1.5), made(target=3.0)],
        notes=["A note."],
    )
    report(result, tmp_path)
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "some.json").read_text())
    table = (tmp_path / "some.md").read_text()
    assert [item["met"] for item in written["rows"]] == [True, False]
    assert written["settings"]["threads"] == 2
    for text in (printed, table):
        assert "A claim." in text
        assert "2.00 x as fast" in text
        assert "≥ 3: missed" in text
        assert "A note." in text
    assert written["machine"]["cpu"] in table
    assert "load average before it began 0.25" in table
    for text in (json.dumps(written), table):
        assert platform.node() not in text
        assert str(tmp_path) not in text


def test_committed_results_are_of_full_runs_and_free_of_paths() -> None:
    files = sorted(RESULTS.glob("*.json"))
    assert files
    for file in files:
        text = file.read_text()
        result = json.loads(text)
        assert result["benchmark"] == file.stem
        assert (RESULTS / f"{file.stem}.md").read_text().startswith(result["claim"])
        assert all(item["repetitions"] >= 5 for item in result["rows"])
        assert "/tmp" not in text  # noqa: S108 - looked for, not used
        assert "/home" not in text
