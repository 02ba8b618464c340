import json
import re
from pathlib import Path

import pytest

from minilingua.cli import main
from minilingua.core.tokens import open_token_file
from tests.browser import PHONE, shown
from tests.preview.conftest import LANGUAGES

pytestmark = pytest.mark.usefixtures("workspace")


def test_the_page_in_a_browser() -> None:
    assert main(["preview", "--examples", "2"]) == 0
    with shown(Path("reports/preview.html"), PHONE) as found:
        page = found.page
        assert not found.complaints
        assert found.overflow == 0
        assert page.locator("h2").count() == len(LANGUAGES)
        colours = {
            kind: page.locator(f"div.conversation {kind}").first.evaluate(
                "box => getComputedStyle(box).backgroundColor"
            )
            for kind in (".t:not(.s)", ".t.s")
        }
        assert len(set(colours.values())) == 2
        file = open_token_file(Path("data/tokens/train/el"))
        row = page.locator("tbody tr", has_text="Greek").first
        assert f"{len(file):,}" in row.inner_text()
        boxes = page.locator("h2#el ~ div.conversation").first.locator(".t")
        assert boxes.first.inner_text() == "<|begin|>"
        assert re.fullmatch(r"\d+", boxes.first.get_attribute("title") or "")
        # A link leads to its language.
        page.get_by_role("link", name="Greek").click()
        assert page.evaluate("location.hash") == "#el"


def test_one_language_of_one_split_into_another_file(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--language", "de", "--split", "test", "--output", "pages/de.html"]
    assert main(["preview", *arguments, "--examples", "1"]) == 0
    assert capsys.readouterr().out == "pages/de.html: 1 conversations\n"
    page = Path("pages/de.html").read_text()
    assert "(test)" in page
    assert "Greek" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--language", "fii"], "--language fii: not in languages .*did you mean 'fi'"),
        (["--examples", "0"], "--examples 0: at least 1"),
        (["--output", "."], "--output .: expected a file"),
    ],
)
def test_bad_arguments_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["preview", *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not Path("reports/preview.html").exists()


def test_tokens_of_another_tokenizer_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("data/tokens/train/en/meta.json")
    meta = json.loads(path.read_text()) | {"tokenizer_digest": "other"}
    path.write_text(json.dumps(meta))
    assert main(["preview"]) == 2
    assert "data/tokens/train/en was made by another tokenizer" in capsys.readouterr().err


def test_without_tokens_the_stage_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text(Path("params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    assert main(["preview"]) == 2
    assert "minilingua tokenizer" in capsys.readouterr().err
