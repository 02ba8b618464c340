"""Reads conversations and raw rows without any code of the stage."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

_LISTED = re.compile(r"(?:([A-Z])\.|(\d+)\.|(-)) (.+)")
_LANGUAGES = {
    "Bulgarian": "bg", "German": "de", "Spanish": "es", "French": "fr", "Italian": "it",
    "Polish": "pl", "Portuguese": "pt", "Dutch": "nl", "Greek": "el", "Finnish": "fi",
}  # fmt: skip


def shown_list(prompt: str) -> list[tuple[str, str]]:
    """Returns (label, option) of the last list in a prompt: A., B., .. or 1., 2., .. or dashes."""
    lists: list[list[tuple[str, str]]] = [[]]
    for line in prompt.split("\n"):
        found = _LISTED.fullmatch(line)
        label = next(filter(None, found.groups()[:3])) if found else ""
        if lists[-1] and label != _next(lists[-1]):
            lists.append([])
        if found and (lists[-1] or label in {"A", "1", "-"}):
            lists[-1].append((label, found[4]))
    return next(entries for entries in reversed(lists) if len(entries) > 1)


def _next(entries: list[tuple[str, str]]) -> str:
    last, _ = entries[-1]
    if last == "-":
        return "-"
    return str(int(last) + 1) if last.isdigit() else chr(ord(last) + 1)


def named_option(prompt: str, reply: str) -> str:
    """Returns the option that a reply names, from the two texts alone."""
    entries = shown_list(prompt)
    if entries[0][0] == "-":
        assert [option for _, option in entries].count(reply) == 1
        return reply
    return dict(entries)[reply]


def raw_row(raw: Path, row: str) -> dict[str, Any]:
    """Returns the raw row of ``<source>/<file>:<line or row>``."""
    file, _, number = row.rpartition(":")
    return raw_rows(raw / file)[int(number) - 1]


def raw_rows(file: Path) -> list[dict[str, Any]]:
    """Returns the rows of a native file."""
    return _decoded(file.resolve())


@cache
def _decoded(file: Path) -> list[dict[str, Any]]:
    if file.suffix == ".parquet":
        rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
        return rows
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def question_and_answer(values: dict[str, Any]) -> tuple[str, str]:
    """Returns question and right answer of a row of ARC, EXAMS, INCLUDE, SweFAQ or TruthfulQA."""
    question = values["question"]
    if "candidate_answers" in values:
        return question, values["candidate_answers"][values["label"]]
    if "option_a" in values:
        return question, values[f"option_{'abcd'[values['answer']]}"]
    if "mc1_targets" in values:
        targets = values["mc1_targets"]
        return question, dict(zip(targets["labels"], targets["choices"], strict=True))[1]
    choices = values["choices"] if "choices" in values else question["choices"]
    if isinstance(choices, dict):
        choices = [
            {"label": label, "text": text}
            for label, text in zip(choices["label"], choices["text"], strict=True)
        ]
    texts = {choice["label"]: choice["text"] for choice in choices}
    return question["stem"] if isinstance(question, dict) else question, texts[values["answerKey"]]


def language_of(source: str, file: Path, values: dict[str, Any]) -> str:
    """Returns the code of a raw row's language."""
    if source == "exams":
        return _LANGUAGES[values["info"]["language"]]
    if source == "include":
        return _LANGUAGES[file.parent.name]
    return {"arc_challenge": "en", "swefaq": "sv", "truthfulqa_cs": "cs"}[source]
