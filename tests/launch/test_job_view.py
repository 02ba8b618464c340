import sys
from pathlib import Path

import pytest

from minilingua.core.events import StepEvent, append_event
from minilingua.launch.job_view import LogView, ProgressView


def test_a_log_is_shown_line_by_line_as_it_grows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "job.log"
    view = LogView(log)
    view.show_new()  # it is not there yet
    log.write_bytes(b"one\ntw")
    view.show_new()
    assert capsys.readouterr().err == "one\n"
    with log.open("ab") as stream:
        stream.write("o ä\nend".encode())
    view.show_new()
    view.show_rest()
    assert capsys.readouterr().err == "two ä\nend\n"


def test_of_a_long_log_only_the_end_is_shown_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "job.log"
    log.write_text("".join(f"line {number}\n" for number in range(10_000)))
    view = LogView(log)
    view.skip_old()
    view.show_new()
    shown = capsys.readouterr().err.splitlines()
    assert 100 < len(shown) < 1000
    assert shown[-1] == "line 9999"
    assert all(line.startswith("line ") for line in shown)


def test_the_bar_stands_at_the_last_step_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    view = ProgressView(tmp_path, steps=10)
    view.show()  # nothing is trained yet
    for step in (1, 2):
        append_event(
            tmp_path / "events.jsonl",
            StepEvent(
                step=step,
                loss=1.0,
                learning_rate=0.1,
                grad_norm=1.0,
                tokens=1,
                supervised_tokens=1,
                conversations=1,
                sample_digest="0",
            ),
        )
        view.show()
        assert view._bar.n == step
    view.close()
