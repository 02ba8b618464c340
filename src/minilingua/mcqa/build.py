"""One multiple-choice item to a question: which options are shown, and in which order.

    MultipleChoiceItem ─► select ─► Question ─► render.py
                             └────► reason to drop it

What is drawn depends on (root seed, the question's key) alone, so an item gets the same options
whatever stands beside it. An option is one line: white space in it, line breaks included, becomes
single spaces, and a full-text answer repeats exactly that line.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from minilingua.core.records import MultipleChoiceItem
from minilingua.core.seeding import content_id, derive_integer

MAX_OPTION_CHARACTERS = 700
"""Longer options are not shown. Four of this length and the answer once more are 3,500
characters, about 900 tokens: with its question such an item stays under curation's usual limit of
4,000 characters and well inside 2,048 tokens. Of real SweFAQ answers this keeps three quarters;
no option of EXAMS comes near it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An item ready to be asked: its shown options, cleaned and in their shown order."""

    source: str
    row: str
    """Where it stands, for messages: ``<file>:<line or row, from 1>``."""
    language: str
    fact: str | None
    key: str
    """``content_id`` of language, question and correct answer; equal in every format."""
    text: str
    """The bare question, without white space around it."""
    options: tuple[str, ...]
    """Shown options, each one line, all different."""
    answer: int
    """0-based index of the correct one in ``options``."""

    def precedence(self) -> tuple[bool, str, str, tuple[str, ...], str]:
        """Orders questions of one key: of repeated ones the first is kept.

        One that names its fact comes before one that does not, then the source first in the
        alphabet.
        """
        return self.fact is None, self.source, self.text, self.options, self.row


def question_key(language: str, question: str, answer: str) -> str:
    """Returns the identity of what is asked, blind to case, white space and how accents stand."""
    return content_id("\x1f".join([language, normalise(question), normalise(answer)]))


def normalise(text: str) -> str:
    """Returns text with accents composed, case folded and white space single, for comparing."""
    return one_line(composed(text)).casefold()


def composed(text: str) -> str:
    """Returns text with letter and accent as one character where there is one (NFC)."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def one_line(text: str) -> str:
    """Returns text with every run of white space as one space, none around it."""
    if text.isprintable() and "  " not in text:  # nothing but single spaces: ten times as fast
        return text.strip(" ")
    return " ".join(text.split())


def select(item: MultipleChoiceItem, shown_options: int, seed: int) -> Question | str:
    """Chooses and orders the options that an item shows, or says why it cannot be asked.

    The correct option always stays. Distractors that are longer than ``MAX_OPTION_CHARACTERS`` or
    repeat another one are never shown; of the others as many are drawn as fit.

    Args:
        item: an item from a reader.
        shown_options: options shown at most; an item with fewer shows fewer.
        seed: root seed.

    Returns:
        The question, or the reason to drop it: ``empty_question``, ``empty_option``,
        ``option_too_long`` (the correct one, or all others), ``repeated_answer`` (a distractor
        equals the correct option), ``too_few_options`` or ``not_unicode`` (half a surrogate pair,
        which JSON can spell and UTF-8 cannot).
    """
    text = item.question.strip()
    options = [one_line(option) for option in item.options]
    correct = options[item.answer]
    # Case tells options apart: the genotypes AABB and aabb are two answers.
    others: dict[str, str] = {}
    for option in options[: item.answer] + options[item.answer + 1 :]:
        others.setdefault(composed(option), option)
    short = [option for option in others.values() if len(option) <= MAX_OPTION_CHARACTERS]
    reason = None
    if not text:
        reason = "empty_question"
    elif "" in options:
        reason = "empty_option"
    elif composed(correct) in others:
        reason = "repeated_answer"
    elif not others:
        reason = "too_few_options"
    elif len(correct) > MAX_OPTION_CHARACTERS or not short:
        reason = "option_too_long"
    elif not _is_unicode(text, correct, *short):
        reason = "not_unicode"
    if reason is not None:
        return reason
    key = question_key(item.language, text, correct)
    randomness = derive_integer(seed, "mcqa", "options", key)
    distractors, randomness = _draw(short, min(shown_options - 1, len(short)), randomness)
    shown, _ = _draw([correct, *distractors], len(distractors) + 1, randomness)
    return Question(
        source=item.source,
        row=item.row,
        language=item.language,
        fact=item.fact,
        key=key,
        text=text,
        options=tuple(shown),
        answer=shown.index(correct),
    )


def _draw(pool: Sequence[str], count: int, randomness: int) -> tuple[list[str], int]:
    """Draws without replacement; returns what was drawn, in its order, and what randomness is left.

    The remainders of a number that is uniform up to 2**512 favour no element by more than one part
    in 2**300 for pools of hundreds, and cost a tenth of building a generator.
    """
    left = list(pool)
    drawn = []
    for _ in range(count):
        randomness, place = divmod(randomness, len(left))
        drawn.append(left.pop(place))
    return drawn, randomness


def _is_unicode(*texts: str) -> bool:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True
