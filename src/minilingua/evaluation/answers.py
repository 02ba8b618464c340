"""Which candidate a generated answer names.

    "**B.** because .."  letter ─► B        "The answer is (2)."  number ─► 2
    "Answer: Oulu town"  text ─► Oulu town  "A or B"              letter ─► none

Tried in turn, until one step finds exactly one candidate:

    1. the whole answer, without quotes, brackets, mark-up and full stops
    2. what it begins with: a letter or number in front of a delimiter, an option's whole text
    3. what follows the last "answer", "Antwort", "respuesta", .. in any of our languages
    4. the only candidate that stands in the first line
    5. the only candidate that stands anywhere

A text that contains another one is the longer one only: "Guinea-Bissau" does not name "Guinea".
Where letters are asked for, an answer that spells just one option out is that option as well; and
letters of other scripts that look like a Latin one count as it, for the prompts show Latin ones.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from minilingua.core.records import AnswerFormat

_LOOK_ALIKES = str.maketrans("АВСЕНКМОРТХΑΒΕΖΗΙΚΜΝΟΡΤΧ", "ABCEHKMOPTXABEZHIKMNOPTX")
"""Cyrillic and Greek capitals ─► the Latin ones that they look like."""

_CUES = (
    "answer", "choice", "option", "antwort", "lösung", "respuesta", "opción", "réponse", "choix",
    "risposta", "scelta", "resposta", "opção", "antwoord", "keuze", "odpowiedź", "odpowiedz",
    "odpověď", "volba", "отговор", "отговорът", "απάντηση", "επιλογή", "vastaus", "vaihtoehto",
    "svar", "svaret", "alternativ",
)  # fmt: skip
_CUE = re.compile(rf"\b(?:{'|'.join(_CUES)})\b", re.IGNORECASE)

_WRAPPING = " \t\r\n\"'`*_()[]{}<>«»„“”‘’‚.,:;!?…#-–—"
_SPACES = re.compile(r"\s+")


def extract(
    answer_format: AnswerFormat, answer: str, candidates: Sequence[str], options: Sequence[str]
) -> int | None:
    """Returns the index of the candidate that an answer names, or None.

    Args:
        answer_format: what was asked for.
        answer: as generated, without special tokens.
        candidates: what the model may answer, such as ``A`` or an option's text.
        options: the options' texts, in the same order.
    """
    if answer_format == "text":
        return _find_text(answer, options)
    found = _find_label(answer, candidates)
    if found is None and answer_format == "letter":
        stripped = answer.strip(_WRAPPING)
        if len(stripped) == 1:  # a lone "b" is an answer, "a" within a sentence is a word
            found = _find_label(stripped.upper(), candidates)
    return _find_text(answer, options) if found is None else found


def _find_label(answer: str, labels: Sequence[str]) -> int | None:
    text = unicodedata.normalize("NFKC", answer)
    if all(len(label) == 1 and label.isalpha() for label in labels):
        text = _translate_lone_letters(text)
    whole = text.strip(_WRAPPING)
    if whole in labels:
        return labels.index(whole)
    alternatives = "|".join(map(re.escape, sorted(labels, key=len, reverse=True)))
    label = re.compile(rf"(?<![\w])({alternatives})(?![\w])")
    leading = re.match(rf"[^\w]*({alternatives})(?=\s*[).:\]\-–—,*\n])", text)
    if leading:
        return labels.index(leading[1])
    after_cue = text[_last_cue(text) :]
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    for part in (after_cue if after_cue != text else "", first_line, text):
        named = {match[1] for match in label.finditer(part)}
        if len(named) == 1:
            return labels.index(named.pop())
    return None


def _find_text(answer: str, options: Sequence[str]) -> int | None:
    texts = [_plain(option) for option in options]
    if len(set(texts)) < len(texts) or not all(texts):
        texts = [_SPACES.sub(" ", option).strip() for option in options]
        answer_plain = _SPACES.sub(" ", answer).strip()
        lines = [answer_plain]
    else:
        answer_plain = _plain(answer)
        lines = [_plain(line) for line in answer.splitlines()]
    if answer_plain in texts:
        return texts.index(answer_plain)
    first_line = next((line for line in lines if line), "")
    after_cue = _plain(answer[_last_cue(answer) :]) if _last_cue(answer) else ""
    for part in (first_line, after_cue, answer_plain):
        named = _named(part, texts)
        if len(named) == 1:
            return named.pop()
    return None


def _named(text: str, options: Sequence[str]) -> set[int]:
    """Returns the options that stand in a text as whole words, longest first, without overlap."""
    taken = [False] * len(text)
    named: set[int] = set()
    for number in sorted(range(len(options)), key=lambda n: -len(options[n])):
        for match in re.finditer(rf"(?<!\w){re.escape(options[number])}(?!\w)", text):
            if not any(taken[match.start() : match.end()]):
                taken[match.start() : match.end()] = [True] * (match.end() - match.start())
                named.add(number)
    return named


def _last_cue(text: str) -> int:
    """Returns where the last cue ends, or 0 without one."""
    return max((match.end() for match in _CUE.finditer(text)), default=0)


def _translate_lone_letters(text: str) -> str:
    return re.sub(r"(?<!\w)\w(?!\w)", lambda match: match[0].translate(_LOOK_ALIKES), text)


def _plain(text: str) -> str:
    """Returns a text in lower case, without what wraps it and with single spaces."""
    return _SPACES.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip(_WRAPPING)


def share_of_repetition(tokens: Sequence[int], size: int = 4) -> float | None:
    """Returns the share of n-grams that occurred before (seq-rep-n), None for a shorter answer.

    Source: Welleck et al., "Neural Text Generation with Unlikelihood Training", ICLR 2020.
    """
    grams: list[tuple[int, ...]] = list(_grams(tokens, size))
    return 1 - len(set(grams)) / len(grams) if grams else None


def _grams(tokens: Sequence[int], size: int) -> Iterable[tuple[int, ...]]:
    return zip(*(tokens[start:] for start in range(size)), strict=False)
