"""Finds answers in which a model speaks of itself or declines: ``refusals.yaml`` lists the words.

Such answers come from the models that generated the Alpaca family, not from people, and teach a
model to refuse harmless questions.
"""

import re
from dataclasses import dataclass
from importlib.resources import files

from ruamel.yaml import YAML

from minilingua.core.languages import CODE
from minilingua.core.records import InstructionExample


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """Compiled phrases of every language."""

    anywhere: dict[str, re.Pattern[str]]
    """Language ─► phrases with which a model names itself, wherever they stand in an answer."""
    at_start: dict[str, re.Pattern[str]]
    """Language ─► phrases that decline, at the beginning of an answer."""

    def reject(self, example: InstructionExample) -> bool:
        """Tells whether an answer refuses, in the example's language or in English.

        Answers to multiple-choice questions are options of the source and never count.
        """
        if example.choice is not None:
            return False
        answers = [
            " ".join(turn.content.split()).casefold().replace("’", "'")
            for turn in example.messages
            if turn.role == "assistant"
        ]
        language = "en" if example.language == CODE else example.language
        return any(
            self.anywhere[code].search(answer) or self.at_start[code].match(answer)
            for code in {language: None, "en": None}
            for answer in answers
        )


def load_refusals() -> Refusals:
    """Compiles the phrases that this package ships."""
    source = files("minilingua.curation") / "refusals.yaml"
    phrases = YAML(typ="safe", pure=True).load(source.read_text(encoding="utf-8"))
    return Refusals(
        anywhere={code: _any_of(listed["anywhere"]) for code, listed in phrases.items()},
        at_start={code: _any_of(listed["at_start"]) for code, listed in phrases.items()},
    )


def _any_of(phrases: list[str]) -> re.Pattern[str]:
    """Returns a pattern of whole words; longer words that begin alike do not match."""
    return re.compile(rf"\b(?:{'|'.join(re.escape(phrase.casefold()) for phrase in phrases)})\b")
