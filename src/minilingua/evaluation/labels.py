"""Which letter or number a generated answer names.

    "**B.** because .."  ─► B      "The answer is C. A is wrong."  ─► C
    "A or B"             ─► none   "A. Paris / B. London / .."     ─► none: the list, said again

Tried in turn:

    1. the whole answer, without quotes, brackets, mark-up and full stops
    2. what follows the last "answer", "Antwort", "respuesta", .. that a label follows; then
       "option", "choice", .., where all of them name the same
    3. what the answer begins with, in front of a delimiter
    4. the only label that stands in the first line
    5. the only label that stands anywhere

What begins with a label and offers another ("B. Paris or C"), or begins two lines or clauses with
labels, names none; nor does "not A". A letter in front of a word is a word itself where some
language has it ("A country", "В България", "E poi") and so is a number ("3 options"), unless the
word is one like "is" or "and"; 3.5 and 1,000 hold no label. Letters of other scripts that look like
a Latin one count as it, for the prompts show Latin ones.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

WRAPPING = " \t\r\n\"'`*_()[]{}<>«»„“”‘’‚.,:;!?…#-–—"
"""What may stand around an answer."""

_LOOK_ALIKES = str.maketrans("АВСЕНКМОРТХΑΒΕΖΗΙΚΜΝΟΡΤΧ", "ABCEHKMOPTXABEZHIKMNOPTX")
"""Cyrillic and Greek capitals ─► the Latin ones that they look like."""


def _any_of(words: str) -> str:
    return "|".join(words.split())


_CUES = _any_of(
    "answer antwort lösung respuesta réponse risposta resposta antwoord odpowiedź odpowiedz"
    " odpověď отговор отговорът απάντηση vastaus svar svaret"
)
_OPTION_CUES = _any_of(
    "choice option opción choix scelta opção keuze opcja volba možnost избор опция επιλογή"
    " vaihtoehto alternativ alternativet"
)
_CUE = re.compile(rf"\b(?:{_CUES})\b", re.IGNORECASE)
_OPTION_CUE = re.compile(rf"\b(?:{_OPTION_CUES})\b", re.IGNORECASE)
_OR = _any_of("or oder o u ou of lub albo nebo či или ή είτε tai vai eller")
_NOT = re.compile(
    rf"\b(?:{_any_of('not nicht kein no pas non não niet geen nie není ne не δεν ei inte')})\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    rf"(?:\b(?:{_any_of('not nicht kein pas non não niet geen nie není ne не δεν όχι ei inte')}"
    rf"|no(?=\s+es))|n['’]t)(?:\s+(?:{_any_of('es è é jest е είναι ole')}))?[^\w.:;!?\n]+$",
    re.IGNORECASE,
)
"""What denies that which follows it at once; "no" alone is "in the" in Portuguese."""
_BEFORE = 16
"""Characters that it takes at most."""
_AFTER_A_LABEL = _any_of(
    "is was are and or nor vs ist und oder es y o u est et ou è e é sono en of zijn jest i lub albo"
    " je a nebo е и или είναι και ή on ja tai vai är och eller"
)
"""Words that make no word of the letter or number before them."""
_WORDS_BETWEEN = 4
"""Words that may stand between a cue and its label: "answer, I think, is option"."""


def last_cue(text: str) -> int:
    """Returns where the last "answer", "option" or the like ends, or 0 without one."""
    ends = [match.end() for cue in (_CUE, _OPTION_CUE) for match in cue.finditer(text)]
    return max(ends, default=0)


def is_denied(text: str, start: int) -> bool:
    """Tells whether "not" or the like stands right in front of a place in a text."""
    return _DENIED.search(text[max(0, start - _BEFORE) : start]) is not None


def find_labels(answer: str, labels: Sequence[str]) -> set[int]:
    """Returns what an answer names outright (steps 1 to 3): one label, several, or none.

    Args:
        answer: as generated, without special tokens.
        labels: letters or numbers.
    """
    text = _normalized(answer, labels)
    whole = text.strip(WRAPPING)
    for number, label in enumerate(labels):
        if whole == label or (len(label) == 1 and whole == label.lower()):
            return {number}
    for found in (_Labels(labels), _Labels([label.lower() for label in labels], alone=True)):
        named = _after_cues(text, found)
        if not named and not last_cue(text):
            listed = found.enumerated(text)
            named = listed if len(listed) > 1 else found.leading(text)
        if named:
            return {found.labels.index(label) for label in named}
    return set()


def only_label(answer: str, labels: Sequence[str]) -> int | None:
    """Returns the index of the only label in the first line, or anywhere (steps 4 and 5), or None.

    Args:
        answer: as generated, without special tokens.
        labels: letters or numbers.
    """
    text = _normalized(answer, labels)
    found = _Labels(labels)
    if len(found.enumerated(text)) > 1:
        return None
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    for part in (first_line, text):
        matches = list(found.matches(part))
        named = {match[1] for match in matches}
        if len(named) == 1 and not all(is_denied(part, match.start()) for match in matches):
            return labels.index(named.pop())
    return None


class _Labels:
    """What a label looks like in text."""

    def __init__(self, labels: Sequence[str], *, alone: bool = False) -> None:
        """Prepares to look for labels.

        Args:
            labels: what to look for.
            alone: nothing but a delimiter may follow: small letters are mostly words.
        """
        self.labels = list(labels)
        names = "|".join(map(re.escape, sorted(labels, key=len, reverse=True)))
        # Not within a word, C'est, 3.5, 1,000, 2:00 or 1/2.
        one = rf"(?<!\w)(?<!\d[.,:/])({names})(?!\w|['’]\w|[.,:/]\d)"
        if alone:
            one += r"(?=\s*(?:[).:;,\]*\"'`\n]|$))"
        self._label = re.compile(one)
        end = rf"\s*[).:\]*\n]|\s*[-–—]\s|,\s+(?!(?:{names})\b)\w\w"
        self._leading = re.compile(rf"[^\w]*{one}(?={end})")
        self._beside = re.compile(rf"[\s)\].*]*[/&+,–-][\s(\[*]*({names})(?!\w)")
        self._or = re.compile(rf"\b(?:{_OR})\s[\s(\[*]*({names})(?!\w)")
        self._enumerated = re.compile(
            rf"(?:^|[\s(\[*])({names})[).:\]]+\**(?=\s+\S)|^[^\w\n]*({names})[^\w\n]*$",
            re.MULTILINE,
        )
        self._word_after = rf"\s+(?!(?:{_AFTER_A_LABEL}|{names})\b)[^\W\d_]"

    def matches(self, text: str) -> Iterator[re.Match[str]]:
        """Yields the labels that are no words."""
        for match in self._label.finditer(text):
            if not self._is_word(match):
                yield match

    def _is_word(self, match: re.Match[str]) -> bool:
        if match[1] not in "AEIO" and not match[1].isdecimal():
            return False
        return re.match(self._word_after, match.string[match.end() :]) is not None

    def leading(self, text: str) -> set[str]:
        """Returns the label that a text begins with, and those that it offers beside it."""
        match = self._leading.match(text)
        return {match[1], *self.offered(text[match.end() :])} if match else set()

    def offered(self, rest: str) -> set[str]:
        """Returns what the line behind a label offers with it: "A, B", "A. Paris or B"."""
        line = rest.partition("\n")[0]
        beside = self._beside.match(line)
        return {match[1] for match in self._or.finditer(line)} | ({beside[1]} if beside else set())

    def enumerated(self, text: str) -> set[str]:
        """Returns the labels in front of something, as in a list of options, or alone on a line."""
        return {before or alone for before, alone in self._enumerated.findall(text)}


def _after_cues(text: str, labels: _Labels) -> set[str]:
    """Returns what stands behind the last "answer", or behind every "option"."""
    answers = _behind(text, _CUE, labels)
    return answers[-1] if answers else set().union(*_behind(text, _OPTION_CUE, labels))


def _behind(text: str, cue: re.Pattern[str], labels: _Labels) -> list[set[str]]:
    """Returns the labels right behind each cue, where there are any."""
    found = []
    for match in cue.finditer(text):
        rest = text[match.end() :]
        first = next(labels.matches(rest), None)
        if first is None:
            continue
        between = rest[: first.start()]
        if len(re.findall(r"\w+", between)) <= _WORDS_BETWEEN and not _NOT.search(between):
            found.append({first[1], *labels.offered(rest[first.end() :])})
    return found


def _normalized(answer: str, labels: Sequence[str]) -> str:
    text = unicodedata.normalize("NFKC", answer)
    if not all(len(label) == 1 and label.isalpha() for label in labels):
        return text
    # Bulgarian has words of one letter, such as "in" and "with": those stand in front of a word.
    foreign = rf"(?<!\w)(?![A-Za-z])\w(?!\w)(?!\s+(?!(?:{_AFTER_A_LABEL})\b)[^\W\d_])"
    return re.sub(foreign, lambda match: match[0].translate(_LOOK_ALIKES), text)
