"""Which candidate a generated answer names.

    "**B.** because .."  letter ─► B        "The answer is (2)."  number ─► 2
    "Answer: Oulu town"  text ─► Oulu town  "A or B"              letter ─► none

Letters and numbers are found by ``labels``. Texts, tried in turn until one step finds exactly one:

    1. the whole answer, without quotes, brackets, mark-up and full stops
    2. the only option in the first line
    3. the only one behind the last "answer", "Antwort", "respuesta", .. in any of our languages
    4. the only one that stands anywhere

A text that contains another one is the longer one only: "Guinea-Bissau" does not name "Guinea".
"Not Guinea" names none, and neither 5.5 nor -5 names the option 5. Options that are said again,
each on a line, are no answer. Where a letter or number is asked for,
an answer that spells just one option out is that option as well; a lone label somewhere in a
sentence that spells another option out is none.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from minilingua.core.records import AnswerFormat
from minilingua.evaluation.labels import WRAPPING, find_labels, is_denied, last_cue, only_label

_SPACES = re.compile(r"\s+")
_BULLET = re.compile(r"^\s*(?:\(?\w[).:\]]|[-*•–])\s+")
"""What may stand in front of an option in a list."""
_MINUS = re.compile(r"(?<![\w.,])[-–](?=[.,]?\d)")
"""A dash that belongs to the number behind it; WRAPPING has those that do not."""


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
    named = find_labels(answer, candidates)
    if named:
        return named.pop() if len(named) == 1 else None
    spelled, label = _find_text(answer, options), only_label(answer, candidates)
    if spelled is None or label is None:
        return label if spelled is None else spelled
    return spelled if spelled == label else None


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
    cue = last_cue(answer)
    after_cue = _plain(answer[cue:]) if cue else ""
    parts = (first_line, after_cue, answer_plain)
    for part in (after_cue,) if _is_list(answer, texts) else parts:
        named = _named(part, texts)
        if len(named) == 1 and all(named.values()):
            return next(iter(named))
    return None


def _is_list(answer: str, texts: Sequence[str]) -> bool:
    """Tells whether an answer says the options again, each on a line, or begins to."""
    lines = answer.splitlines()
    alone = {_plain(_BULLET.sub("", line)) for line in lines} & set(texts)
    return len(alone) > 1 or (len(alone) == 1 and sum(bool(_BULLET.match(n)) for n in lines) > 1)


def _named(text: str, options: Sequence[str]) -> dict[int, bool]:
    """Returns the options that stand in a text as whole words, and whether not denied each time.

    Longest first, without overlap. A part of a number is no word.
    """
    taken = [False] * len(text)
    named: dict[int, bool] = {}
    for number in sorted(range(len(options)), key=lambda n: -len(options[n])):
        option = re.escape(options[number])
        starts = r"(?<![−\w])(?<!\d[.,:/])" if options[number][:1].isdecimal() else r"(?<!\w)"
        ends = r"(?!\w|[.,:/]\d)" if options[number][-1:].isdecimal() else r"(?!\w)"
        for match in re.finditer(starts + option + ends, text):
            if not any(taken[match.start() : match.end()]):
                taken[match.start() : match.end()] = [True] * (match.end() - match.start())
                said = not is_denied(text, match.start())
                named[number] = named.get(number, False) or said
    return named


def _plain(text: str) -> str:
    """Returns a text in lower case, without what wraps it and with single spaces."""
    signed = _MINUS.sub("−", unicodedata.normalize("NFKC", text).casefold())
    return _SPACES.sub(" ", signed).strip(WRAPPING)


def share_of_repetition(tokens: Sequence[int], size: int = 4) -> float | None:
    """Returns the share of n-grams that occurred before (seq-rep-n), None for a shorter answer.

    Source: Welleck et al., "Neural Text Generation with Unlikelihood Training", ICLR 2020.
    """
    grams: list[tuple[int, ...]] = list(_grams(tokens, size))
    return 1 - len(set(grams)) / len(grams) if grams else None


def _grams(tokens: Sequence[int], size: int) -> Iterable[tuple[int, ...]]:
    return zip(*(tokens[start:] for start in range(size)), strict=False)
