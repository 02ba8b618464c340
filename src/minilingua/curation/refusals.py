"""Finds answers in which a model speaks of itself or declines: ``refusals.yaml`` lists the words.

Such answers come from the models that generated the Alpaca family, not from people, and teach a
model to refuse harmless questions.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ruamel.yaml import YAML

from minilingua.curation.texts import Texts

_BEGINNING = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrases:
    """Case-folded phrases that are looked for as whole words."""

    texts: tuple[str, ...]
    pattern: re.Pattern[str]
    """Any of them between word boundaries."""
    beginnings: tuple[str, ...]
    """Their first characters, each once."""

    def within(self, text: str) -> str | None:
        """Returns one that stands anywhere in a case-folded text."""
        # Plain search is ten times faster than the pattern and says no to nearly every text.
        for beginning in self.beginnings:
            if beginning in text:
                found = self.pattern.search(text)
                return found[0] if found else None
        return None

    def at_start(self, text: str) -> str | None:
        """Returns one that a case-folded text begins with."""
        if text.startswith(self.texts) and (found := self.pattern.match(text)):
            return found[0]
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusals:
    """The phrases of every language."""

    anywhere: Mapping[str, Phrases]
    """Language ─► with which a model names itself, wherever they stand in an answer."""
    at_start: Mapping[str, Phrases]
    """Language ─► with which an answer begins to decline."""

    def find(self, texts: Texts) -> str | None:
        """Returns the phrase with which an answer refuses, in the row's language or in English.

        Answers to multiple-choice questions are options of the source and never count.
        """
        if texts.example.choice is not None:
            return None
        languages = dict.fromkeys(["en" if texts.is_code else texts.example.language, "en"])
        for turn, folded in zip(texts.example.messages, texts.folded_turns, strict=True):
            if turn.role != "assistant":
                continue
            answer = folded.replace("’", "'") if "’" in folded else folded
            for code in languages:
                found = self.at_start[code].at_start(answer) or self.anywhere[code].within(answer)
                if found is not None:
                    return found
        return None


@cache
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
        texts=texts,
        pattern=re.compile(rf"\b(?:{'|'.join(re.escape(text) for text in texts)})\b"),
        beginnings=tuple(sorted({text[:_BEGINNING] for text in texts})),
    )
