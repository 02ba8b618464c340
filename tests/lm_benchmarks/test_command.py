"""`minilingua benchmarks` on tiny models: figures computed another way, resuming, errors."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from minilingua.cli import main as minilingua
from minilingua.core.errors import RunBusyError
from minilingua.core.files import sha256_file, tree_digest
from minilingua.evaluation.model import Request, load_model, log_likelihoods
from minilingua.evaluation.prompts import PromptEncoder
from minilingua.evaluation.result_log import ResultLog
from minilingua.lm_benchmarks.benchmarks import BENCHMARKS
from minilingua.lm_benchmarks.command import main
from minilingua.lm_benchmarks.jobs import KEPT
from minilingua.lm_benchmarks.mirror import names_of
from tests.lm_benchmarks.conftest import ROOT

pytest.importorskip("lm_eval", reason="lm-eval is not installed here: `make lm-eval`")

Root = Callable[..., Path]
Scores = dict[tuple[str, ...], Any]
"""Model, task, language, metric ─► score, as the report lists it."""
Done = tuple[Path, Scores]
_TASKS = ("--task", "belebele", "--task", "flores")


def _scores(root: Path) -> Scores:
    listed = json.loads((root / "reports/benchmarks.json").read_text())
    return {tuple(s[k] for k in ("model", "task", "language", "metric")): s for s in listed}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, mirror: Path, models: Path) -> Done:
    """A repository root in which two tasks in two languages were run, and the scores."""
    path = tmp_path_factory.mktemp("done")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        (path / "models").symlink_to(models)
        text = (ROOT / "params.yaml").read_text(encoding="utf-8")
        line = next(line for line in text.splitlines() if line.startswith("languages: ["))
        (path / "params.yaml").write_text(text.replace(line, "languages: [de, fi]"))
        assert main(["--mirror", str(mirror), *_TASKS]) == 0
    return path, _scores(path)


def test_likelihood_is_what_our_own_evaluation_computes(
    done: Done, mirror: Path, models: Path
) -> None:
    _, scores = done
    encoder = PromptEncoder(models / "tokenizer")
    seen: set[int] = set()
    tokens = {c: encoder.tokenizer.encode(f" {c}", add_special_tokens=False) for c in "ABCD"}
    for name, folder in (("base", "base"), ("result", "hf")):
        model = load_model(models / folder, "", encoder.vocab_size)
        for language in ("de", "fi"):
            rows = BENCHMARKS["belebele"].load(mirror, language)["test"]
            prompts = [
                f"P: {row['flores_passage']}\nQ: {row['question'].strip()}\n"
                f"A: {row['mc_answer1']}\nB: {row['mc_answer2']}\n"
                f"C: {row['mc_answer3']}\nD: {row['mc_answer4']}\nAnswer:"
                for row in rows
            ]
            requests = [
                Request(
                    prefix=tuple(encoder.tokenizer.encode(prompt, add_special_tokens=False)),
                    branches=tuple(tuple(tokens[letter]) for letter in "ABCD"),
                )
                for prompt in prompts
            ]
            values = log_likelihoods(model, requests, 256, "", ResultLog())
            chosen = [int(np.argmax([sum(branch) for branch in branches])) for branches in values]
            seen.update(chosen)
            right = [int(row["correct_answer_num"]) - 1 for row in rows]
            hits = np.equal(chosen, right)
            score = scores[name, "belebele", language, "acc"]
            assert score["value"] == pytest.approx(hits.mean())
            assert score["stderr"] == pytest.approx(hits.std(ddof=1) / len(hits) ** 0.5)
            assert score["n"] == 7
            assert score["answer_format"] == "letter"
    assert len(seen) > 1  # the models do choose


def test_generation_is_greedy_and_scored_by_sacrebleu(
    done: Done, mirror: Path, models: Path
) -> None:
    import sacrebleu

    _, scores = done
    encoder = PromptEncoder(models / "tokenizer")
    model = load_model(models / "hf", "", encoder.vocab_size)
    rows = BENCHMARKS["flores"].load(mirror, "fi")["devtest"]
    answers = []
    for row in rows:
        prompt = f"English sentence: {row['sentence_eng_Latn']}\nFinnish sentence:"
        ids = encoder.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            written = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                max_new_tokens=256,
                pad_token_id=1,
            )
        text = encoder.decode(written[0, ids.shape[1] :].tolist())
        answers.append(text.partition("\n")[0])
    references = [row["sentence_fin_Latn"] for row in rows]
    score = scores["result", "flores", "fi", "chrf"]
    assert score["value"] == pytest.approx(sacrebleu.corpus_chrf(answers, [references]).score)
    assert score["stderr"] > 0
    assert score["n"] == 4


def test_the_report_says_what_it_was_made_from(done: Done, mirror: Path, models: Path) -> None:
    root, scores = done
    both = [scores["result", "belebele", language, "acc"] for language in ("de", "fi")]
    over_all = scores["result", "belebele", "all", "acc"]
    assert over_all["value"] == pytest.approx(sum(score["value"] for score in both) / 2)
    # The rows are the same in both languages: a draw is a row in both.
    kept = [json.loads(path.read_text()) for path in (root / KEPT).glob("*.json")]
    hits = {
        name: [
            each["items"]["acc"]
            for each in kept
            if each["depends_on"]["model"] == tree_digest(models / folder) and each["items"]
        ]
        for name, folder in (("base", "base"), ("result", "hf"))
    }
    by_row = {name: np.mean(values, axis=0) for name, values in hits.items()}
    assert over_all["stderr"] == pytest.approx(by_row["result"].std(ddof=1) / 7**0.5)
    (compared,) = json.loads((root / "reports/benchmarks/comparison.json").read_text())
    difference = (by_row["result"] - by_row["base"]).mean()
    assert compared["difference"] == pytest.approx(difference)
    assert compared["low"] <= compared["difference"] <= compared["high"]
    assert 0 < compared["p"] <= 1
    assert (compared["task"], compared["n"]) == ("belebele", 7)
    assert over_all["n"] == 14
    assert scores["base", "belebele", "fi", "chance"]["value"] == 0.25
    manifest = json.loads((root / "reports/benchmarks/manifest.json").read_text())
    assert manifest["models"] == {
        "base": tree_digest(models / "base"),
        "result": tree_digest(models / "hf"),
    }
    name = f"facebook/belebele/data/{names_of('fi')['flores']}.jsonl"
    assert manifest["files"][name] == sha256_file(mirror / name)
    assert manifest["packages"]["lm_eval"]
    versions = {unit["unit"]: unit["task_versions"] for unit in manifest["units"]}
    assert versions["belebele fi letter"] == {"belebele_fin_Latn": "0.0"}
    table = (root / "reports/benchmarks/table.md").read_text()
    assert "**published**" in table
    lines = (root / "reports/benchmarks/answers.jsonl").read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    assert len(answers) == 2 * 2 * 4  # models, languages, sentences
    assert {answer["unit"] for answer in answers} == {"flores de", "flores fi"}


def test_what_is_kept_is_not_computed_again(
    done: Done,
    mirror: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from minilingua.lm_benchmarks.harness import Model

    root, _ = done
    monkeypatch.chdir(root)
    before = (root / "reports/benchmarks.json").read_bytes()
    kept = sorted((root / KEPT).glob("*.json"))
    assert len(kept) == 8  # two models, tasks and languages
    gone = next(path for path in kept if "belebele fi" in path.read_text())
    gone.unlink()
    ran: list[str] = []
    run = Model.run

    def counting(model: Model, tasks: Any, **options: Any) -> Any:
        ran.extend(task.task_name for task in tasks)
        return run(model, tasks, **options)

    monkeypatch.setattr(Model, "run", counting)
    assert main(["--mirror", str(mirror), *_TASKS]) == 0
    assert ran == ["belebele_fin_Latn"]
    assert (root / "reports/benchmarks.json").read_bytes() == before
    # Another number of examples is other work; what was asked for last is what is reported.
    asked = ["--mirror", str(mirror), "--task", "belebele", "--model", "base", "--shots", "1"]
    assert main([*asked, "--limit", "3"]) == 0
    assert ran[1:] == ["belebele_deu_Latn", "belebele_fin_Latn"]
    assert {key[0] for key in _scores(root)} == {"base"}
    assert _scores(root)["base", "belebele", "fi", "acc"]["n"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "belebel"], "unknown task 'belebel' (did you mean 'belebele'?)"),
        (["--limit", "0"], "--limit 0: it has to be positive"),
        (["--shots", "-1"], "--shots -1: it cannot be negative"),
        (["--mirror", "nowhere"], "nowhere is no directory"),
        (["--device", "cuda"], "torch sees no GPU here"),
        (["--task", "massivesum_chat"], "none of the languages of params.yaml is in massivesum"),
    ],
)
def test_bad_arguments_are_one_line(
    root: Root,
    mirror: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    root(("fi",))
    asked = ["benchmarks", "--mirror", str(mirror), "--task", "belebele", *arguments]
    if "massivesum_chat" in arguments:
        asked.remove("belebele")
        asked.remove("--task")
    assert minilingua(asked) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("reports").exists()


def test_no_mirror_no_models_and_no_lm_eval_are_one_line(
    root: Root,
    mirror: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = root(("de", "fi"))
    (tmp_path / "empty").mkdir()
    asked = ["benchmarks", "--task", "belebele"]
    assert minilingua(asked) == 2
    assert "--mirror DIR has to name" in capsys.readouterr().err
    assert minilingua([*asked, "--mirror", "empty"]) == 2
    assert (
        "empty/facebook/belebele/data/deu_Latn.jsonl is missing from the mirror"
        in capsys.readouterr().err
    )
    (path / "models").unlink()
    assert minilingua([*asked, "--mirror", str(mirror)]) == 2
    assert "models/tokenizer/tokenizer.json is missing; `minilingua tok" in capsys.readouterr().err
    monkeypatch.setattr("minilingua.lm_benchmarks.harness.find_spec", lambda _: None)
    assert minilingua([*asked, "--mirror", str(mirror)]) == 2
    assert "'lm_eval' is not installed: `make lm-eval` adds" in capsys.readouterr().err


def _with_positions(path: Path, models: Path, positions: int) -> None:
    """Gives a repository root a base of fewer positions."""
    (path / "models").unlink()
    (path / "models").mkdir()
    (path / "models/tokenizer").symlink_to(models / "tokenizer")
    shutil.copytree(models / "base", path / "models/base")
    config = path / "models/base/config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps(values | {"max_position_embeddings": positions}))


def test_a_model_that_is_too_short_for_answers_is_named(
    root: Root, mirror: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _with_positions(root(("fi",)), models, 200)
    asked = ["benchmarks", "--mirror", str(mirror), "--model", "base", "--task", "flores"]
    assert minilingua(asked) == 2
    error = capsys.readouterr().err
    assert "flores_en-fi generates up to 256 tokens, but the model has 200" in error


def test_prompts_that_are_cut_are_counted(
    root: Root, mirror: Path, models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root(("fi",))
    _with_positions(path, models, 50)
    assert main(["--mirror", str(mirror), "--model", "base", "--task", "belebele"]) == 0
    assert "7 prompts were longer than the model's positions" in capsys.readouterr().out
    manifest = json.loads((path / "reports/benchmarks/manifest.json").read_text())
    assert manifest["units"][0]["truncated_prompts"] == 7


def test_two_at_once_are_refused(root: Root, mirror: Path) -> None:
    path = root(("fi",))
    (path / KEPT).mkdir(parents=True)
    with FileLock(path / KEPT / "lock"), pytest.raises(RunBusyError, match="another `minilingua b"):
        main(["--mirror", str(mirror), "--task", "belebele"])


def test_the_list_needs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert "belebele_chat" in shown
    assert "facebook/belebele/data/$flores.jsonl" in shown
