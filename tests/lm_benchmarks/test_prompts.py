"""What a chat model is asked, in every language."""

from pathlib import Path

import pytest

from minilingua.core.languages import NATURAL_LANGUAGES
from minilingua.lm_benchmarks.benchmarks import BENCHMARKS, TOPICS
from minilingua.lm_benchmarks.prompts import chat_rows


def test_a_question_by_letter_and_by_number(mirror: Path) -> None:
    rows = BENCHMARKS["belebele"].load(mirror, "fi")["test"][1:2]
    (letter,) = chat_rows("belebele", rows, "fi", "letter", "en")
    assert letter == {
        "prompt": (
            "The ferry number 1 leaves the harbour at noon.\n\nWhen does ferry 1 leave? \n"
            "A. at dawn\nB. at noon\nC. at dusk\nD. at night\nAnswer with a letter."
        ),
        "options": ["at dawn", "at noon", "at dusk", "at night"],
        "candidates": ["A", "B", "C", "D"],
        "answer": 1,
    }
    (number,) = chat_rows("belebele", rows, "fi", "number", "fi")
    assert number["prompt"].endswith("\n4. at night\nVastaa numerolla.")
    assert number["candidates"] == ["1", "2", "3", "4"]


def test_translations_and_summaries(mirror: Path) -> None:
    rows = BENCHMARKS["flores"].load(mirror, "de")["devtest"][:1]
    prompts = [chat_rows("flores", rows, "de", None, code)[0]["prompt"] for code in ("en", "de")]
    assert prompts == [
        f"{instruction}\n\nThe English sentence 0 is about boats."
        for instruction in (
            "Translate this text from English into German.",
            "Übersetze diesen Text aus dem Englischen ins Deutsche.",
        )
    ]
    (row,) = chat_rows(
        "massivesum", BENCHMARKS["massivesum"].load(mirror, "de")["test"][1:], "de", None, "en"
    )
    assert row["reference"] == "Boats of de sail."
    assert row["prompt"].endswith("\n\nThe boats rest at dusk.")


@pytest.mark.parametrize("language", NATURAL_LANGUAGES)
def test_every_language_has_its_words(language: str) -> None:
    topic = {"text": "T", "category": "geography"}
    (row,) = chat_rows("sib200", [topic], language, "number", language)
    assert row["options"][row["answer"]] == row["options"][-1]
    assert len(set(row["options"])) == len(TOPICS)
    sentences = {"sentence_eng_Latn": "S", "sentence_fin_Latn": "L"}
    (translation,) = chat_rows("flores", [sentences], "fi", None, language)
    (summary,) = chat_rows("massivesum", [{"text": "T", "summary": "S"}], "fi", None, language)
    assert "{" not in translation["prompt"] + summary["prompt"]
