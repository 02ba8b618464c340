"""Rows of the benchmarks as what a chat model is asked: one user turn, zero-shot.

    row ─► question, options ─► the first wording of mcqa/templates for letters or numbers
    row ─► prompts.yaml: translate, summarise

The reference asked in this way (letters and numbers, English and native instructions); its wording
is its own. The wordings of mcqa/templates are among those that models of ours are trained with.
"""

import functools
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from minilingua.core.languages import LANGUAGES
from minilingua.core.records import AnswerFormat
from minilingua.lm_benchmarks.benchmarks import TOPICS
from minilingua.lm_benchmarks.mirror import Row, names_of
from minilingua.mcqa.render import LABELS
from minilingua.mcqa.templates import load_templates


def chat_rows(
    benchmark: str,
    rows: Sequence[Row],
    language: str,
    answer_format: AnswerFormat | None,
    instruction_language: str,
) -> list[Row]:
    """Returns rows with ``prompt``, and ``options``, ``candidates``, ``answer`` or ``reference``.

    Args:
        benchmark: name of the benchmark.
        rows: its rows, as ``Benchmark.load`` returns them.
        language: of the rows; a translation is into it.
        answer_format: letter or number; None for translations and summaries.
        instruction_language: ``en`` or the language itself.
    """
    texts = _texts()[instruction_language]
    if answer_format is None:
        return [_open_row(benchmark, row, language, texts) for row in rows]
    asked = [_question(benchmark, row, texts) for row in rows]
    template = load_templates(instruction_language)[answer_format][0]
    made = []
    for question, options, answer in asked:
        labels = list(LABELS[answer_format][: len(options)])
        listed = "\n".join(f"{label}. {text}" for label, text in zip(labels, options, strict=True))
        made.append(
            {
                "prompt": template.fill(question, listed),
                "options": list(options),
                "candidates": labels,
                "answer": answer,
            }
        )
    return made


def _question(benchmark: str, row: Row, texts: dict[str, Any]) -> tuple[str, Sequence[str], int]:
    """Returns question, options and the 0-based index of the right one."""
    match benchmark:
        case "belebele":
            options = [row[f"mc_answer{number}"] for number in range(1, 5)]
            question = f"{row['flores_passage']}\n\n{row['question']}"
            return question, options, int(row["correct_answer_num"]) - 1
        case "sib200":
            question = f"{row['text']}\n\n{texts['topic']}"
            return question, texts["topics"], TOPICS.index(row["category"])
        case "mmlux":
            return row["question"], row["choices"], row["answer"]
    raise ValueError(f"{benchmark} is not answered by letter or number")


def _open_row(benchmark: str, row: Row, language: str, texts: dict[str, Any]) -> Row:
    if benchmark == "flores":
        instruction = texts["translate"].format(target=LANGUAGES[language].english_name)
        reference = row[f"sentence_{names_of(language)['flores']}"]
        return {
            "prompt": f"{instruction}\n\n{row['sentence_eng_Latn']}",
            "reference": reference,
        }
    return {"prompt": f"{texts['summarise']}\n\n{row['text']}", "reference": row["summary"]}


@functools.cache
def _texts() -> dict[str, dict[str, Any]]:
    source = files("minilingua.lm_benchmarks") / "prompts.yaml"
    texts: dict[str, dict[str, Any]] = YAML(typ="safe", pure=True).load(
        source.read_text(encoding="utf-8")
    )
    return texts
