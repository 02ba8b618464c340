"""Filters over single rows, each with the reason its drops are counted under.

A filter sees one example and nothing else, so the order of rows cannot matter; what compares rows
(``duplicates``) comes after. The first filter that rejects a row names the reason.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from minilingua.core.languages import CODE, LANGUAGES
from minilingua.core.records import InstructionExample
from minilingua.curation.refusals import load_refusals

MINIMUM_SCRIPT_SHARE = 0.5
"""Least share of a text's letters in the script of its language."""

_LETTERS = re.compile(r"[^\W\d_]+")
_SCRIPTS = {
    "Latn": re.compile("[A-Za-zªºÀ-ÖØ-öø-ʯḀ-ỿ]+"),
    "Cyrl": re.compile("[Ѐ-ԯ]+"),
    "Grek": re.compile("[Ͱ-Ͽἀ-῿]+"),
}
"""Letters of each ISO 15924 script that our languages are written in, by Unicode block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One reason to drop a row, and the test for it."""

    reason: str
    """As in the manifest, such as ``empty_answer``."""
    description: str
    """What is dropped, in one sentence; written into the manifest."""
    rejects: Callable[[InstructionExample], bool]


def row_filters(max_characters: int) -> tuple[Filter, ...]:
    """Returns the filters in the order they are applied: structure first, then content."""
    refusals = load_refusals()
    return (
        Filter(
            reason="conflicting_roles",
            description="Turns do not alternate from user to assistant, or none is answered.",
            rejects=has_conflicting_roles,
        ),
        Filter(
            reason="empty_prompt",
            description="A user or system turn is blank.",
            rejects=lambda example: has_blank_turn(example, "user", "system"),
        ),
        Filter(
            reason="empty_answer",
            description="An assistant turn is blank.",
            rejects=lambda example: has_blank_turn(example, "assistant"),
        ),
        Filter(
            reason="too_long",
            description=f"The turns hold more than {max_characters} characters together.",
            rejects=lambda example: count_characters(example) > max_characters,
        ),
        Filter(
            reason="wrong_script",
            description="Most letters of prompts and of answers are foreign to the language.",
            rejects=is_in_wrong_script,
        ),
        Filter(
            reason="refusal",
            description="An answer speaks of itself as a language model, or declines to answer.",
            rejects=refusals.reject,
        ),
    )


def has_conflicting_roles(example: InstructionExample) -> bool:
    """Tells whether turns are not (system,) user, assistant, user, assistant, .."""
    roles = [message.role for message in example.messages]
    if roles[:1] == ["system"]:
        roles = roles[1:]
    return len(roles) < 2 or roles != ["user", "assistant"] * (len(roles) // 2)


def has_blank_turn(example: InstructionExample, *roles: str) -> bool:
    """Tells whether a turn of one of the roles holds nothing but white space."""
    return any(
        message.role in roles and not message.content.strip() for message in example.messages
    )


def count_characters(example: InstructionExample) -> int:
    """Returns the Unicode characters of all turns."""
    return sum(len(message.content) for message in example.messages)


def is_in_wrong_script(example: InstructionExample) -> bool:
    """Tells whether none of an example's texts is mostly in the script of its language.

    One text in the right script is enough, since translating from or into the language, or asking
    for a program, are honest tasks. The instruction around a multiple-choice question is not
    looked at: it may be English on purpose. Digits and signs count for no script, and code shares
    letters with every script, so it is never rejected.
    """
    if example.language == CODE:
        return False
    if example.choice is not None:
        texts = [example.choice.question, "\n".join(example.choice.options)]
    else:
        texts = [
            "\n".join(turn.content for turn in example.messages if turn.role == role)
            for role in ("user", "assistant")
        ]
    has_letters = False
    for text in texts:  # the prompt, which is the shorter one, mostly decides
        share = script_share(text, LANGUAGES[example.language].script)
        if share is not None and share >= MINIMUM_SCRIPT_SHARE:
            return False
        has_letters = has_letters or share is not None
    return has_letters


def script_share(text: str, script: str) -> float | None:
    """Returns the share of a text's letters that belong to a script; None without letters."""
    letters = sum(map(len, _LETTERS.findall(text)))
    if not letters:
        return None
    return sum(map(len, _SCRIPTS[script].findall(text))) / letters
