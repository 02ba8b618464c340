"""Is a row in the language it is filed under? By script, and by an identifier.

Both act on clear cases only. One text in the right language is enough for a row to stay, since
translating, or asking for a program, are honest tasks; and a text has to be long to count against
it.
"""

import re

from minilingua.core.language_identifier import MINIMUM_LETTERS, identify
from minilingua.core.languages import LANGUAGES
from minilingua.curation.texts import Texts

MINIMUM_SCRIPT_SHARE = 0.5
"""Least share of a text's letters in the script of its language."""

_SCRIPT_CHARACTERS = 400
"""As much of a text is looked at for its script."""
_LETTERS = re.compile(r"[^\W\d_]+")
_SCRIPTS = {
    "Latn": re.compile("[A-Za-zªºÀ-ÖØ-öø-ʯḀ-ỿ]+"),
    "Cyrl": re.compile("[Ѐ-ԯ]+"),
    "Grek": re.compile("[Ͱ-Ͽἀ-῿]+"),
}
"""Letters of each ISO 15924 script that our languages are written in, by Unicode block."""
_BEYOND_LATIN = re.compile("[Ͱ-ᷟἀ-῿Ⰰ-\uffff\U00010000-\U0001efff]")
"""What may be a letter of another script than Latin."""


def judged_texts(texts: Texts) -> tuple[str, str]:
    """Returns the two texts of a row that have a language.

    The instruction around a multiple-choice question is not one: it may be English on purpose.
    """
    choice = texts.example.choice
    return (texts.prompt, texts.answer if choice is None else "\n".join(choice.options))


def foreign_script(texts: Texts) -> str | None:
    """Says how little of a row is in the script of its language, or None where it is enough.

    Digits and signs count for no script, and code shares letters with every script, so it is never
    foreign.
    """
    if texts.is_code:
        return None
    script = LANGUAGES[texts.example.language].script
    shares = []
    for text in judged_texts(texts):  # the prompt, which is the shorter one, mostly decides
        if script != "Latn" and _is_clearly_in(script, text[:_SCRIPT_CHARACTERS]):
            return None
        share = script_share(text, script)
        if share is not None and share >= MINIMUM_SCRIPT_SHARE:
            return None
        shares += [share] if share is not None else []
    return f"{max(shares):.0%} {script}" if shares else None


def script_share(text: str, script: str) -> float | None:
    """Returns the share of letters at a text's beginning that belong to a script; None without."""
    text = text[:_SCRIPT_CHARACTERS]
    if script == "Latn" and (_is_latin1(text) or not _BEYOND_LATIN.search(text)):
        return 1.0 if _LETTERS.search(text) else None
    letters = sum(map(len, _LETTERS.findall(text)))
    if not letters:
        return None
    return sum(map(len, _SCRIPTS[script].findall(text))) / letters


def _is_clearly_in(script: str, text: str) -> bool:
    """Tells whether letters of the script are half of all characters: then they are of all letters.

    To find all letters takes six times as long.
    """
    return 0 < len(text) <= 2 * sum(map(len, _SCRIPTS[script].findall(text)))


def _is_latin1(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def foreign_language(texts: Texts) -> str | None:
    """Names the language that a row is in instead of its own, or None where that is not clear."""
    if texts.is_code:
        return None
    judged = judged_texts(texts)
    if min(map(len, judged)) < MINIMUM_LETTERS:  # it is unclear, and to know that costs nothing
        return None
    named = []
    for text in judged:
        language = identify(text, texts.example.language)
        if language is None:
            return None
        named.append(language)
    return " and ".join(dict.fromkeys(named))
