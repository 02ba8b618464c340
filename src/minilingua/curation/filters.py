"""Filters over single rows, each with the reason its drops are counted under.

A filter sees one row and nothing else, so the order of rows cannot matter; what compares rows
(``duplicates``, ``near_duplicates``, ``contamination``) comes after. The first filter that finds
something names the reason; what it found is kept beside the sampled rejects.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass

from minilingua.curation import artefacts
from minilingua.curation.language import foreign_language, foreign_script
from minilingua.curation.refusals import load_refusals
from minilingua.curation.texts import Texts

_BROKEN = re.compile("[\ufffd\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
"""Replacement characters, control characters, and halves of characters."""
_NO_CONTROL = bytes(byte for byte in range(256) if not _BROKEN.match(chr(byte)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One reason to drop a row, and the test for it."""

    reason: str
    """As in the manifest, such as ``empty_answer``."""
    description: str
    """What is dropped, in one sentence; written into the manifest."""
    find: Callable[[Texts], str | None]
    """Returns what is wrong with a row, in a few words, or None."""


def row_filters(max_characters: int, chosen: Collection[str]) -> tuple[Filter, ...]:
    """Returns the filters in the order they are applied: structure first, then content.

    Args:
        max_characters: longest conversation.
        chosen: reasons of the filters that look at content; ``curate.filters`` in params.yaml. The
            others always apply: nothing could be trained on what they drop.
    """
    structure = (
        Filter(
            reason="conflicting_roles",
            description="Turns do not alternate from user to assistant, or none is answered.",
            find=conflicting_roles,
        ),
        Filter(
            reason="broken_text",
            description="A turn holds half a character, U+FFFD or a control character.",
            find=broken_text,
        ),
        Filter(
            reason="empty_prompt",
            description="A user or system turn is blank.",
            find=lambda texts: blank_turn(texts, "user", "system"),
        ),
        Filter(
            reason="empty_answer",
            description="An assistant turn is blank.",
            find=lambda texts: blank_turn(texts, "assistant"),
        ),
        Filter(
            reason="too_long",
            description=f"The turns hold more than {max_characters} characters together.",
            find=lambda texts: too_long(texts, max_characters),
        ),
    )
    content = (
        Filter(
            reason="wrong_script",
            description="Most letters of prompts and of answers are foreign to the language.",
            find=foreign_script,
        ),
        Filter(
            reason="refusal",
            description="An answer speaks of itself as a language model, or declines to answer.",
            find=load_refusals().find,
        ),
        Filter(
            reason="repetition",
            description="An answer repeats its lines, or a few words, again and again.",
            find=artefacts.repetition,
        ),
        Filter(
            reason="translated_code",
            description="Keywords or fences of a program were translated with the text around it.",
            find=artefacts.translated_code,
        ),
        Filter(
            reason="markup_residue",
            description="Tags or entities of a web page stand in a text that is not about markup.",
            find=artefacts.markup_residue,
        ),
        Filter(
            reason="wrong_language",
            description="Prompts and answers are long and surely in another language.",
            find=foreign_language,
        ),
    )
    return (*structure, *(rule for rule in content if rule.reason in chosen))


def conflicting_roles(texts: Texts) -> str | None:
    """Returns the roles if they are not (system,) user, assistant, user, assistant, .."""
    roles = [message.role for message in texts.example.messages]
    if roles == ["user", "assistant"]:
        return None
    spoken = roles[1:] if roles[:1] == ["system"] else roles
    if len(spoken) >= 2 and spoken == ["user", "assistant"] * (len(spoken) // 2):
        return None
    return ", ".join(roles) or "no turn"


def broken_text(texts: Texts) -> str | None:
    """Returns the first character that is none, as a code point."""
    for turn in texts.example.messages:
        if _may_be_broken(turn.content) and (found := _BROKEN.search(turn.content)):
            return f"U+{ord(found[0]):04X}"
    return None


def _may_be_broken(text: str) -> bool:
    """Tells most texts off ten times faster than the pattern."""
    try:
        return "\ufffd" in text or text.encode().translate(None, _NO_CONTROL) != b""
    except UnicodeEncodeError:
        return True


def blank_turn(texts: Texts, *roles: str) -> str | None:
    """Names the first turn of one of the roles in which there is nothing to see."""
    if all(texts.folded_turns):
        return None
    turns = zip(texts.example.messages, texts.folded_turns, strict=True)
    for number, (turn, folded) in enumerate(turns, start=1):
        if turn.role in roles and not folded:
            return f"turn {number}"
    return None


def too_long(texts: Texts, max_characters: int) -> str | None:
    """Returns the Unicode characters of all turns if they are too many."""
    characters = sum([len(turn.content) for turn in texts.example.messages])
    return f"{characters} characters" if characters > max_characters else None
