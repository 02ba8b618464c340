"""The list of scores on disk and the summary made of it."""

import json
from pathlib import Path

from minilingua.core.records import Score
from minilingua.evaluation.scores import summarise, write_scores


def score(**values: object) -> Score:
    defaults: dict[str, object] = {
        "model": "base",
        "task": "mcqa",
        "language": "all",
        "answer_format": "text",
        "instruction_language": "all",
        "metric": "accuracy",
        "value": 0.5,
        "stderr": 0.1,
        "n": 25,
    }
    return Score(**(defaults | values))  # type: ignore[arg-type]  # names and types by use


LOSS = {
    "answer_format": None,
    "instruction_language": None,
    "metric": "nats_per_supervised_token",
}


def test_one_list_in_an_order_that_does_not_depend_on_the_input(tmp_path: Path) -> None:
    scores = [
        score(model=model, language=language, task=task, **extra)
        for model in ("result", "base")
        for language in ("fi", "all", "en")
        for task, extra in (("mcqa", {}), ("loss", LOSS))
    ]
    write_scores(tmp_path / "a.json", scores)
    write_scores(tmp_path / "b.json", reversed(scores))
    text = (tmp_path / "a.json").read_text()
    assert text == (tmp_path / "b.json").read_text()
    rows = json.loads(text)
    assert len(rows) == len(scores)
    assert set(rows[0]) == set(Score.__slots__)
    assert len(text.splitlines()) == len(scores) + 2


def test_summary_names_what_is_measured_over_all_languages() -> None:
    scores = [
        score(value=0.25),
        score(model="result", value=0.75),
        score(model="result", task="mcqa_seen_facts", value=0.8),
        score(model="result", language="fi", value=0.1),
        score(model="result", answer_format="letter", value=0.3),
        score(model="result", instruction_language="en", value=0.2),
        score(model="result", answer_format="all", metric="chance", value=0.26),
        score(model="result", task="loss", value=2.5, **LOSS),
    ]
    assert summarise(scores) == {
        "base": {"accuracy_text": 0.25},
        "result": {
            "accuracy_text": 0.75,
            "accuracy_text_seen_facts": 0.8,
            "accuracy_letter": 0.3,
            "chance": 0.26,
            "loss": 2.5,
        },
    }
