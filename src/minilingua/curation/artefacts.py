"""Traces of translation, generation and scraping in texts; questions with options never count.

``translated_code``   programs whose keywords were translated, or whose fences are broken
``repetition``        an answer that goes round in circles
``markup_residue``    tags and entities of the web page that a text was taken from
"""

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from ruamel.yaml import YAML

from minilingua.curation.texts import Texts

_BROKEN_FENCE = re.compile(r"`` +`|` +``|«» ?[\"”]|'`[a-z]+\n")
"""Code fences as they come back from machine translation."""
_BROKEN_TAG = re.compile(r"</ \w+>|< /\w+>|< (?:div|span|ul|li|html|head|body|script|h\d) ?>")
_PSEUDOCODE = re.compile(r"pseudo|псевдо|ψευδο", re.IGNORECASE)
"""Algorithms in plain words are meant to read so."""

MINIMUM_LINES = 6
"""Shorter answers do not go round in circles."""
LINE_CHARACTERS = 8
"""Shorter lines, such as ``}`` or a bullet, may repeat."""
MINIMUM_WORDS = 60
MINIMUM_DISTINCT_WORDS = 0.15
"""Least share of different words in an answer of ``MINIMUM_WORDS``. Of English prose of 100 to 800
words 0.4 to 0.7 are different."""

_RESIDUE = re.compile(
    r"&(?:nbsp|amp|quot|lt|gt|apos|ldquo|rdquo|lsquo|rsquo|ndash|mdash|hellip|#\d{2,5}|#x[0-9a-f]+);"
    r"|</?(?:br|p|div|span|li|ul|ol|td|tr|th|table|font|img|h[1-6])(?:\s[^<>]{0,200})?/?>"
    r"|\[\[(?:File|Image|Category|Datei|Fichier|Archivo|Plik|Soubor|Файл):|\{\{[Cc]ite |<ref[ >]",
    re.IGNORECASE,
)
_ABOUT_MARKUP = re.compile(
    r"html|xml|css\b|javascript|\bjs\b|php|jsx|svg|\btags?\b|markup|markdown|web|```|<!doctype|<html"
    r"|regex|escape|entit",
    re.IGNORECASE,
)
"""Texts about markup may hold some."""


def translated_code(texts: Texts) -> str | None:
    """Returns a piece of a program that was translated, or None.

    Programs themselves are never looked at, nor is English: it is what others are translated from.
    """
    example = texts.example
    if example.choice is not None or example.language not in _patterns():
        return None
    answer = texts.answer
    if "`" in answer or "«»" in answer:
        if found := _BROKEN_FENCE.search(answer):
            return found[0]
        if answer.count("```") % 2:
            return "``` without its end"
    found = _BROKEN_TAG.search(answer) if "<" in answer else None
    if found is None:
        for sign, pattern in _patterns()[example.language]:
            if sign in answer and (found := pattern.search(answer)):
                break
    if found is None or _PSEUDOCODE.search(texts.prompt) or _PSEUDOCODE.search(answer):
        return None
    return found[0].strip()


def repetition(texts: Texts) -> str | None:
    """Says how an answer repeats itself, or returns None."""
    if texts.example.choice is not None:
        return None
    answer = texts.answer
    if answer.count("\n") >= MINIMUM_LINES - 1:
        lines = [line.strip() for line in answer.splitlines()]
        lines = [line for line in lines if len(line) >= LINE_CHARACTERS]
        if len(lines) >= MINIMUM_LINES and 2 * len(set(lines)) < len(lines):
            line, times = Counter(lines).most_common(1)[0]
            return f"{times} times {line:.60}"
    if texts.is_code or texts.folded_answer.count(" ") < MINIMUM_WORDS - 1:
        return None
    spoken = texts.folded_answer.split(" ")
    distinct = set(spoken)
    if len(distinct) < MINIMUM_DISTINCT_WORDS * len(spoken):
        return f"{len(distinct)} different words of {len(spoken)}"
    return None


def markup_residue(texts: Texts) -> str | None:
    """Returns a tag or entity that a web page left behind, or None."""
    if texts.is_code or texts.example.choice is not None:
        return None
    for text in (texts.answer, texts.prompt):
        if not ("<" in text or "&" in text or "[[" in text or "{{" in text):
            continue
        found = _RESIDUE.search(text)
        if found is not None:
            about = _ABOUT_MARKUP.search(texts.prompt) or _ABOUT_MARKUP.search(texts.answer)
            return None if about else found[0]
    return None


@cache
def _patterns() -> Mapping[str, tuple[tuple[str, re.Pattern[str]], ...]]:
    """Returns for each language: (text without which the pattern cannot match, the pattern)."""
    source = files("minilingua.curation") / "translated_code.yaml"
    listed = YAML(typ="safe", pure=True).load(source.read_text(encoding="utf-8"))
    return {code: _language_patterns(words) for code, words in listed.items()}


def _language_patterns(
    words: Mapping[str, list[str]],
) -> tuple[tuple[str, re.Pattern[str]], ...]:
    either = {kind: f"(?:{'|'.join(listed)})" for kind, listed in words.items()}
    arguments = r" \((?:[^()\n]|\([^()\n]*\))*\)"
    loop = rf"\b{either['for']} \w+ {either['in']} ?{either['range']}(?:\(|{arguments} ?:)"
    condition = rf"^[ \t]*{either['if']} [^\n:]{{1,60}}(?:[=!<>]=|%)[^\n:]{{1,60}}:[ \t]*(?:#.*)?$"
    output = rf"\b{either['print']}\(f?[\"'“”„«]"
    console = rf"\b{either['console']}\.log\("
    query = rf"\b{either['select']} (?:\*|\w+(?:, ?\w+)*) {either['from']} \w+"
    return (
        ("(", re.compile(f"{loop}|{output}|{console}", re.IGNORECASE)),
        ("=", re.compile(condition, re.IGNORECASE | re.MULTILINE)),
        ("%", re.compile(condition, re.IGNORECASE | re.MULTILINE)),
        *((word, re.compile(query)) for word in words["select"]),
        ("(", re.compile(rf"\b{either['static']}\b", re.IGNORECASE)),
    )
