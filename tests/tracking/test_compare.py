"""Two runs, wherever their evaluations are."""

import json
import subprocess
from pathlib import Path

import pytest

from minilingua.core.errors import DataError, MissingInputError, ParamsError
from minilingua.core.files import write_jsonl
from minilingua.core.records import ItemResult
from minilingua.evaluation.scores import write_items
from minilingua.tracking.compare import ITEMS, main
from minilingua.tracking.track import main as track
from tests.tracking.workspace import RUN_KEY, Workspace


def write(path: Path, share: float, questions: int = 40) -> None:
    """The results of a base that knows nothing, and of a model that knows a share."""
    items = [
        ItemResult(
            model=model,
            task="mcqa",
            item=f"key-{number}",
            language=language,
            answer_format="text",
            instruction_language="native",
            subsets=(),
            values={
                "accuracy": (float(model == "result" and number < share * questions), 1.0),
                "chance": (0.25, 1.0),
            },
        )
        for model in ("base", "result")
        for language in ("en", "fi")
        for number in range(questions)
    ]
    write_items(path, items)


@pytest.fixture
def root(workspace: Workspace) -> Workspace:
    """A line with an evaluation, in MLflow, whose parameters are here."""
    workspace.whole_line()
    write(workspace.root / ITEMS, 0.9)
    track(["--quiet"])
    return workspace


def overall(output: str) -> dict[str, object]:
    found = [
        item
        for item in json.loads(Path(output, "comparison.json").read_text())
        if item["language"] == "all" and item["answer_format"] == "all"
    ]
    assert len(found) == 1
    return dict(found[0])


def test_directories_are_compared(root: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write(root.root / "other/items.jsonl", 0.5)
    assert main(["other", "."]) == 0
    found = overall("reports/compare/other..reports")
    assert (found["left"], found["right"], found["n"]) == (0.5, 0.9, 80)
    assert found["p"] < 0.01  # type: ignore[operator]  # a number
    said = capsys.readouterr().out
    assert "better" in said
    assert "reports/compare/other..reports/comparison.png" in said
    assert Path("reports/compare/other..reports/comparison.png").stat().st_size > 1000


def test_the_base_of_the_other_side(root: Workspace) -> None:
    del root
    assert main(["base", ".", "--output", "out"]) == 0
    assert (overall("out")["left"], overall("out")["right"]) == (0.0, 0.9)
    assert main([".", "base", "--output", "out"]) == 0
    assert (overall("out")["left"], overall("out")["right"]) == (0.9, 0.0)
    with pytest.raises(MissingInputError, match="name a run"):
        main(["base", "base"])


@pytest.mark.parametrize("name", [RUN_KEY, RUN_KEY[:6]])
def test_a_run_of_mlflow_is_found_and_given_the_comparison(root: Workspace, name: str) -> None:
    write(root.root / "other/items.jsonl", 0.5)
    write(root.root / ITEMS, 0.1)  # what lies here is another one by now
    assert main(["other", name, "--output", "out", "--track"]) == 0
    assert (overall("out")["left"], overall("out")["right"]) == (0.5, 0.9)
    assert {f"comparison/out/comparison.{kind}" for kind in ("json", "png")} < root.artifacts()


def test_a_git_revision_is_read_out_of_the_cache_of_dvc(root: Workspace) -> None:
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    for command in (
        ("git", "init", "--quiet"),
        ("dvc", "init", "--quiet"),
        ("dvc", "add", "--quiet", "reports/evaluation"),
        ("git", "add", "--force", "reports/evaluation.dvc", ".dvc"),
        ("git", *identity, "commit", "-qm", "First"),
        ("git", *identity, "tag", "first"),
    ):
        subprocess.run(command, check=True, cwd=root.root)
    (root.root / ITEMS).unlink()
    write(root.root / ITEMS, 0.5)
    assert main(["first", ".", "--output", "out"]) == 0
    assert (overall("out")["left"], overall("out")["right"]) == (0.9, 0.5)


def test_what_cannot_be_compared_is_named(root: Workspace) -> None:
    with pytest.raises(MissingInputError, match="'nothing' is no directory, run or git revision"):
        main(["nothing", "."])
    Path("empty").mkdir()
    with pytest.raises(MissingInputError, match=r"empty holds no evaluation \(items\.jsonl"):
        main([".", "empty"])
    write_jsonl(Path("empty/items.jsonl"), [])
    with pytest.raises(DataError, match="no results of the model 'result'"):
        main([".", "empty"])
    write(Path("fewer/items.jsonl"), 0.5, questions=3)
    with pytest.raises(MissingInputError, match=r"--track: fewer is no run in MLflow; out/ is"):
        main([".", "fewer", "--output", "out", "--track"])
    assert overall("out")["n"] == 6
    with pytest.raises(MissingInputError, match="an empty name names no run"):
        main(["", "."])
    odd = Path("fewer/items.jsonl")
    odd.write_text(odd.read_text().replace('"accuracy"', '"acuracy"'))
    with pytest.raises(DataError, match=r"fewer: unknown metric 'acuracy' \(did you mean 'acc"):
        main(["fewer", "."])
    write(odd, 0.5)
    (root.root / ITEMS).unlink()
    with pytest.raises(MissingInputError, match="`minilingua evaluate` makes it"):
        main(["fewer", "."])


def test_an_output_that_is_no_comparison_is_left_alone(root: Workspace) -> None:
    del root
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("years of work")
    for output in ("mine", "mine/thesis.tex", "."):
        with pytest.raises(ParamsError, match="exists and is no comparison"):
            main(["base", ".", "--output", output])
    assert Path("mine/thesis.tex").read_text() == "years of work"
