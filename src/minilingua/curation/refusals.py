"""Finds answers in which a model speaks of itself or declines: ``refusals.yaml`` lists the words.

Such answers come from the models that generated the Alpaca family, not from people, and teach a
model to refuse harmless questions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

from ruamel.yaml import YAML

from minilingua.core.languages import CODE
from minilingua.core.records import InstructionExample


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrases:
    """Case-folded phrases that are looked for as whole words."""

    texts: tuple[str, ...]
    pattern: re.Pattern[str]
    """Any of them between word boundaries."""

    def stand_in(self, text: str) -> bool:
        """Tells whether one stands anywhere in a case-folded text."""
        # Plain search is ten times faster than the pattern and says no to nearly every text.
        return any(phrase in text for phrase in self.texts) and bool(self.pattern.search(text))

    def begin(self, text: str) -> bool:
        """Tells whether a case-folded text begins with one."""
        return text.startswith(self.texts) and bool(self.pattern.match(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """The phrases of every language."""

    anywhere: Mapping[str, Phrases]
    """Language ─► with which a model names itself, wherever they stand in an answer."""
    at_start: Mapping[str, Phrases]
    """Language ─► with which an answer begins to decline."""

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
            self.at_start[code].begin(answer) or self.anywhere[code].stand_in(answer)
            for code in dict.fromkeys([language, "en"])
            for answer in answers
        )


def load_refusals() -> Refusals:
    """Reads the phrases that this package ships."""
    source = files("minilingua.curation") / "refusals.yaml"
    listed = YAML(typ="safe", pure=True).load(source.read_text(encoding="utf-8"))
    return Refusals(
        anywhere={code: _phrases(lists["anywhere"]) for code, lists in listed.items()},
        at_start={code: _phrases(lists["at_start"]) for code, lists in listed.items()},
    )


def _phrases(listed: list[str]) -> Phrases:
    texts = tuple(text.casefold() for text in listed)
    return Phrases(
        texts=texts, pattern=re.compile(rf"\b(?:{'|'.join(re.escape(text) for text in texts)})\b")
    )
