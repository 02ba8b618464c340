"""What an example asks and answers, without the template around it, and as words to compare.

    example ─► Texts (prompt, answer, folded) ─► words: b"which river is this the danube"

A multiple-choice example asks its bare question and answers with the text of the right option,
whatever instruction, letters or numbers stand around them. Of any other example all user and system
turns are the prompt and all assistant turns the answer.

*Folded* text has accents composed (NFC, not NFKC: 10² is not 102), case folded and white space
single, and has no characters that nobody sees. *Words* are folded text without punctuation.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minilingua.core.languages import CODE
from minilingua.core.records import InstructionExample, Role

_SIGNS = b"+*/=<>%^$&|~@#_\\"
"""ASCII signs that carry meaning between words; other ASCII punctuation separates words."""
_BETWEEN = b"\x1e"
"""Stands between folded texts, which have no white space but spaces and line feeds."""
_SEPARATE = bytes(
    byte if byte >= 128 or chr(byte).isalnum() or byte in _SIGNS + _BETWEEN else ord(" ")
    for byte in range(256)
)
_MARKS = "«»‹›“”„‟‘’‚‛…–—―·•¿¡′″"
"""Punctuation beyond ASCII."""
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"))
"""Soft hyphen, zero-width space and joiners, word joiner, byte order mark."""
_CODE_TOKENS = re.compile(r"\w+|[^\w\s]")


@dataclass(slots=True, kw_only=True)
class Texts:
    """One example, read for filters and comparisons."""

    example: InstructionExample
    prompt: str
    answer: str
    folded_prompt: str
    folded_answer: str
    folded_turns: tuple[str, ...]
    """Each turn, folded."""
    is_code: bool
    """The example is one of programming."""


def read_texts(example: InstructionExample) -> Texts:
    """Returns the texts of an example."""
    turns = tuple([fold(turn.content) for turn in example.messages])
    choice = example.choice
    if choice is not None:
        prompt, answer = choice.question, choice.options[choice.answer]
        folded_prompt, folded_answer = fold(prompt), fold(answer)
    elif len(turns) == 2:
        prompt, answer = (turn.content for turn in example.messages)
        folded_prompt, folded_answer = turns
    else:
        roles = [turn.role for turn in example.messages]
        contents = [turn.content for turn in example.messages]
        prompt, answer = _by_role(roles, contents)
        folded_prompt, folded_answer = _by_role(roles, turns)
    return Texts(
        example=example,
        prompt=prompt,
        answer=answer,
        folded_prompt=folded_prompt,
        folded_answer=folded_answer,
        folded_turns=turns,
        is_code=example.language == CODE,
    )


def _by_role(roles: list[Role], turns: Sequence[str]) -> tuple[str, str]:
    """Returns what user and system say, and what the assistant says."""
    spoken = list(zip(roles, turns, strict=True))
    return (
        "\n".join(turn for role, turn in spoken if role != "assistant"),
        "\n".join(turn for role, turn in spoken if role == "assistant"),
    )


def fold(text: str) -> str:
    """Returns text with accents composed, case folded, white space single, and all of it seen."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    text = text.casefold()
    if text.isprintable() and "  " not in text:  # no white space but single spaces
        return text.strip(" ")
    if not text.isascii():
        text = text.translate(_INVISIBLE)
    return " ".join(text.split())


def tokens(folded: str) -> bytes:
    """Returns the words and signs of folded text, single-spaced: what tells programs apart."""
    return " ".join(_CODE_TOKENS.findall(folded)).encode()


def words(folded: str) -> bytes:
    """Returns the words of folded text, single-spaced, as UTF-8; empty where there are none."""
    return words_of_all([folded])[0]


def words_of_all(folded: Sequence[str]) -> list[bytes]:
    """Returns the ``words`` of each of some folded texts, at least one."""
    text = _BETWEEN.decode().join(folded)
    if not text.isascii():
        for mark in _MARKS:
            text = text.replace(mark, " ")
    # Of each run of spaces the first stays. To split every text into its words takes twice as long.
    spaced = np.frombuffer(text.encode().translate(_SEPARATE), dtype=np.uint8)
    is_space = spaced == ord(" ")
    is_space[1:] &= is_space[:-1].copy()
    is_space[:1] = False
    return [line.strip(b" ") for line in spaced[~is_space].tobytes().split(_BETWEEN)]


def join_words(prompt: bytes, answer: bytes) -> bytes:
    """Returns the words of a prompt and of its answer in one."""
    return b"%b %b" % (prompt, answer) if prompt and answer else prompt or answer
